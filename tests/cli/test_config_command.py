"""Tests of `wsss config`: a whole experiment file, its schema, and no file that is replaced."""

from __future__ import annotations

import errno
import json
import resource
from pathlib import Path

import pytest
from wsss.platform.cli import main
from wsss.platform.method import build_experiment
from wsss.platform.method.experiment_files import experiment_of, json_schema
from wsss.platform.storage import filesystem


def test_the_file_of_a_preset_is_printed_or_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["config", "lpcam", "--preset", "paper"]
    assert main(words) == 0
    text = capsys.readouterr().out
    path = Path("a.yaml")
    assert main([*words, "--out", "a.yaml"]) == 0
    assert path.read_text() == text
    assert experiment_of(path) == build_experiment("lpcam", preset="paper")
    assert "# Learning rate of the backbone at the first step. It must be a number between" in text
    path.write_text("mine")
    assert main([*words, "--out", "a.yaml"]) == 2
    assert "a.yaml exists; choose another --out" in capsys.readouterr().err
    assert path.read_text() == "mine"


@pytest.fixture(params=[None, errno.EPERM, errno.ENOTSUP])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, or one that refuses them with the code of the parameter."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, "refused")

    if request.param:
        monkeypatch.setattr(filesystem.os, "link", refuse)


@pytest.mark.usefixtures("file_system")
def test_a_file_is_written_once_also_without_hard_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    assert main(["config", "lpcam", "--out", str(path)]) == 0
    written = path.read_text()
    assert experiment_of(path) == build_experiment("lpcam")
    assert main(["config", "sipe", "--out", str(path)]) == 2
    assert "a.yaml exists; choose another --out" in capsys.readouterr().err
    assert path.read_text() == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("file_system")
def test_a_file_whose_writing_fails_is_not_left_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, limits = tmp_path / "a.yaml", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert main(["config", "lpcam", "--out", str(path)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{path} cannot be written: File too large" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_combination_has_its_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "psdpm", "--localizer", "cam", "--baseline", "sipe:lpcam"]) == 0
    path = tmp_path / "a.yaml"
    path.write_text(capsys.readouterr().out)
    assert experiment_of(path).combination == "psdpm:cam@sipe:lpcam"


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "sipe", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema("sipe")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["odd"], "unknown method 'odd'; there are cam"),
        (["cam", "--preset", "odd"], "unknown preset 'odd' of cam"),
        (["cam", "--out", ""], "--out is empty; it must be a path"),
        (
            ["psdpm", "--schema", "--localizer", "a", "--baseline", "b", "--preset", "c"],
            "--schema depends on the method alone; leave out --localizer, --baseline, --preset",
        ),
        (["odd", "--schema"], "unknown method 'odd'; there are cam"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *words]) == 2
    assert message in capsys.readouterr().err
