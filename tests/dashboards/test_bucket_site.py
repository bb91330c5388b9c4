"""Tests of pages and exports of a store in a bucket, on a machine with an empty cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_store import drawn_store
from wsss.dashboards.site import Site
from wsss.platform.cli import main
from wsss.platform.interop import exports
from wsss.platform.records.schema import read_run
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.artifact_files import ArtifactFolder
from wsss.platform.storage.object_store import lease
from wsss.platform.storage.store import Store, open_store


@pytest.fixture(scope="module")
def bucket(shared_bucket: str) -> str:
    """Return the address of a store with a run in a bucket."""
    drawn_store(open_store(shared_bucket), train=1, val=2)
    return shared_bucket


@pytest.fixture
def filled(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store in the bucket, as a machine with an empty cache opens it."""
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "elsewhere"))
    return open_store(bucket)


def test_a_report_has_all_pages_and_pictures(filled: Store, bucket: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["report", str(out), "--store", bucket]) == 0
    site = Site(filled)
    paths = set(site.paths())
    assert "run.run-0.html" in paths
    for kind in (".map.png", ".edges.png", ".labels.png", ".regions.png"):
        assert sum(path.startswith("layers/") and path.endswith(kind) for path in paths) >= 2, kind
    assert any(path.startswith("prototypes/") for path in paths)
    for path in paths:
        assert (out / path).stat().st_size > 0
    assert "cam" in (out / "run.run-0.html").read_text()


def test_a_report_in_one_file_holds_all_pages(filled: Store, bucket: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["report", str(out), "--store", bucket, "--run", "run-0", "--single-file"]) == 0
    text = out.read_text()
    for path in Site(filled, runs=["run-0"], sweeps=[]).paths():
        assert f'data-path="{path}"' in text


def test_pages_follow_the_store(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(filled, live=True)
    before = site.state("index.html"), site.state("run.run-0.html")
    assert site.state("index.html") == before[0]
    file = filled.location("runs", "run-0", "run.json")
    file.write(file.read() + b"\n")
    assert site.state("index.html") != before[0]
    assert site.state("run.run-0.html") != before[1]
    assert b"run-0" in (site.file("index.html") or b"")
    assert b'data-every="5000"' in (site.file("index.html") or b"")
    names = ("progress.json", "progress.lock")
    started = [filled.location("runs", "run-1", name) for name in names]
    for file in started:
        file.write(b"{}")
    state_while_alive = site.state("index.html")
    monkeypatch.setattr(lease, "EXPIRY", 0.0)
    assert site.state("index.html") != state_while_alive
    for file in started:
        file.remove()


def test_labels_are_exported(filled: Store, tmp_path: Path) -> None:
    run = read_run(filled.location("runs", "run-0", "run.json"))
    assert exports.write(filled, run, tmp_path / "png", "png", "lpcam/crf", "val") == 2
    assert len(list((tmp_path / "png").glob("*.png"))) == 2


def test_an_artifact_made_again_after_quarantine_is_opened_again(filled: Store) -> None:
    site = Site(filled, live=True)
    (path, *_) = sorted(p for p in site.paths() if p.endswith(".map.png"))
    picture = Site(filled).file(path)
    for kind, key in list(filled.artifacts()):
        if kind == "maps":
            artifact = site.artifacts.open(kind, key)
            about = {k: artifact.manifest[k] for k in ("version", "config", "inputs", "title")}
            files = {n: artifact.file(n).read() for n in artifact.manifest["files"]}
            filled.quarantine(filled.folder(kind, key), "a test")

            def rewrite(folder: ArtifactFolder, files: dict[str, bytes] = files) -> dict[str, Any]:
                for name, data in files.items():
                    (folder / name).write_bytes(data)
                return {}

            stage = Stage(name=kind, **about)
            assert stage.key == key
            assert not filled.get(stage, rewrite)[1]
    assert picture is not None
    assert site.file(path) == picture
