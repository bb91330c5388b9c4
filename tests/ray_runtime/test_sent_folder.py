"""Tests of the sentence on the folder that Ray sent with a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wsss.platform.ray_runtime import sent_folder

SENT = {"runtime_env": {"working_dir": "gcs://_ray_pkg_0123.zip"}, "metadata": {}}


@pytest.mark.parametrize("job", [None, "", {}, {"runtime_env": {}}])
def test_without_a_folder_nothing_is_said(job: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sent_folder.JOB, raising=False)
    if job is not None:
        monkeypatch.setenv(sent_folder.JOB, job if isinstance(job, str) else json.dumps(job))
    assert sent_folder.description() == ""


def test_a_folder_that_ray_did_not_send_is_not_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may change to another folder, or its folder may lie in the image of the cluster."""
    monkeypatch.setenv(sent_folder.JOB, json.dumps(SENT))
    (tmp_path / "own").write_bytes(bytes(26))
    monkeypatch.chdir(tmp_path)
    assert sent_folder.description() == ""
    removed = tmp_path / sent_folder.UNPACKED / "removed"
    removed.mkdir(parents=True)
    monkeypatch.chdir(removed)
    removed.rmdir()
    assert sent_folder.description() == ""


@pytest.mark.parametrize("below", [False, True])
def test_the_largest_files_are_named_with_their_size(
    below: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sent_folder.JOB, json.dumps(SENT))
    sent = tmp_path / sent_folder.UNPACKED / "_ray_pkg_0123"
    (sent / "mine").mkdir(parents=True)
    monkeypatch.chdir(sent / "mine" if below else sent)
    (sent / "mine" / "weights.pth").write_bytes(bytes(3_210_000))
    (sent / "mine" / "names").write_bytes(bytes(26))
    (sent / "mine" / "missing").symlink_to("nowhere")
    (sent / "mine" / "endless").symlink_to("endless")
    (sent / "__pycache__").mkdir()
    (sent / "__pycache__" / "mine.pyc").write_bytes(bytes(900))
    assert sent_folder.description() == (
        "Ray sent 2 files of 3.2 MB with this job: mine/weights.pth 3.2 MB, mine/names 26 B"
    )
    for number in range(5):
        (sent / f"{number}.py").write_bytes(bytes(600 * number))
    assert sent_folder.description() == (
        "Ray sent 7 files of 3.2 MB with this job: mine/weights.pth 3.2 MB, 4.py 2.4 kB, "
        "3.py 1.8 kB, 2.py 1.2 kB, 3 more"
    )
