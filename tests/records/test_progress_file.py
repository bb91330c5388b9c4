"""Tests of the progress file: it says what runs, and whether the process of a run is alive."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import HANG
from wsss.platform.errors import StorageError
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import PROGRESS, ProgressRecorder, is_alive, read_progress
from wsss.platform.records.schema import RunRecord
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.storage import Location

RUN = RunRecord(
    name="a-run", method="cam", dataset="scenes", seed=0, experiment={}, digest="d",
    command="wsss run cam", machine="", versions={}, started="2026-01-01T00:00:00+0000",
    seconds=0.0, status="running",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return LocalStorage(tmp_path).location("runs")


class Spy(ProgressDisplay):
    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self, title: str) -> None:
        self.events.append(title)

    def finish(self, cached: bool) -> None:
        self.events.append(f"cached {cached}")


def test_progress_is_passed_on_and_in_the_file_until_the_end(
    folder: Location, tmp_path: Path
) -> None:
    spy = Spy()
    recorded = ProgressRecorder(spy)
    with recorded.track(folder, RUN):
        recorded.plan(["first", "second"])
        recorded.start("first")
        recorded.finish(True)
        recorded.start("second")
        recorded.written = -9.0
        recorded.update("epoch 1", 3, 9)
        state = read_progress(folder)
        assert state is not None
        assert (state.titles, state.step, state.text) == (("first", "second"), 2, "epoch 1")
        assert (state.done, state.total, state.alive) == (3, 9, True)
        assert state.record["name"] == "a-run"
    assert list((tmp_path / "runs").iterdir()) == []
    assert read_progress(folder) is None
    assert spy.events == ["first", "cached True", "second"]


def test_a_file_that_cannot_be_written_does_not_stop_the_work(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, row: object) -> None:
        raise StorageError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr("wsss.platform.records.progress_file.write_json", full)
    spy = Spy()
    recorded = ProgressRecorder(spy)
    with recorded.track(folder, RUN):
        recorded.start("first")
    assert spy.events == ["first"]


def test_an_outage_at_the_end_does_not_fail_the_work(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stays, and the record of the finished work counts."""

    def fail(storage: LocalStorage, name: str) -> None:
        raise StorageError(f"{name} cannot be used")

    recorded = ProgressRecorder(ProgressDisplay())
    with recorded.track(folder, RUN):
        recorded.start("only")
        monkeypatch.setattr(LocalStorage, "remove", fail)
    assert (folder / PROGRESS).exists()
    assert not is_alive(folder)


def test_an_error_leaves_the_last_state_as_stopped(folder: Location) -> None:
    recorded = ProgressRecorder(ProgressDisplay())

    def broken() -> None:
        with recorded.track(folder, RUN):
            recorded.plan(["only"])
            recorded.start("only")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    state = read_progress(folder)
    assert state is not None
    assert (state.step, state.alive) == (1, False)
    recorded.update("later", 1, 2)
    assert read_progress(folder) == state


def test_a_killed_process_is_not_alive(folder: Location, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from wsss.platform.records.progress_file import ProgressRecorder\n"
        "from wsss.platform.records.progress import ProgressDisplay\n"
        "from wsss.platform.records.schema import run_from_json\n"
        "from wsss.platform.storage.local_storage import LocalStorage\n"
        "run = run_from_json(__import__('json').loads(sys.argv[2]), '')\n"
        "folder = LocalStorage(sys.argv[1]).location('runs')\n"
        "with ProgressRecorder(ProgressDisplay()).track(folder, run):\n"
        f"    print('begun', flush=True)\n    time.sleep({HANG})\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), json.dumps(dataclasses.asdict(RUN))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert is_alive(folder)
    process.kill()
    process.wait()
    assert not is_alive(folder)
    state = read_progress(folder)
    assert state is not None
    assert not state.alive


def test_of_two_writers_at_once_only_the_first_writes(folder: Location) -> None:
    first, second = ProgressRecorder(ProgressDisplay()), ProgressRecorder(ProgressDisplay())
    with first.track(folder, RUN):
        with second.track(folder, RUN):
            second.plan(["other"])
            second.start("other")
        state = read_progress(folder)
        assert state is not None
        assert state.titles == ()


def test_steps_are_not_written_too_often(
    folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = ProgressRecorder(ProgressDisplay())
    with recorded.track(folder, RUN):
        monkeypatch.setattr(time, "monotonic", lambda: recorded.written + 0.1)
        before = (tmp_path / "runs" / PROGRESS).stat().st_mtime_ns
        recorded.update("soon", 1, 2)
        assert (tmp_path / "runs" / PROGRESS).stat().st_mtime_ns == before
        monkeypatch.setattr(time, "monotonic", lambda: recorded.written + 1)
        recorded.update("later", 2, 2)
        state = read_progress(folder)
        assert state is not None
        assert state.text == "later"
