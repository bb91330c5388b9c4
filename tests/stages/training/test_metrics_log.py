"""Tests of the metrics file of a training, on disk and in a bucket."""

from __future__ import annotations

import itertools
import json
import threading
import time

import pytest
from limits import HANG
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import parse_metrics, read_metrics
from wsss.platform.stages.training import checkpoints, metrics_log
from wsss.platform.stages.training.metrics_log import Log, NewRows, following
from wsss.platform.storage.store import open_store


@pytest.fixture(params=["disk", "bucket"])
def file(request, tmp_path):
    where = tmp_path if request.param == "disk" else request.getfixturevalue("bucket")
    return open_store(where).location("training", "abc.jsonl")


def row(step):
    return {"epoch": step // 2, "step": step, "steps": 6, "loss": 1.0}


def test_rows_reach_the_storage_and_are_dropped_after_a_checkpoint(file):
    log = Log(file, 0)
    for step in range(5):
        log.write(**row(step))
    log.upload()
    assert [r["step"] for r in read_metrics(file)] == list(range(5))
    file.storage.drop_copy(file.name)  # the training goes on from another machine
    log = Log(file, 4)
    log.write(**row(4))
    log.write(**row(5))
    log.upload()
    assert read_metrics(file) == [row(step) for step in range(6)]


class Reported(ProgressDisplay):
    """A display that keeps what is reported, up to a step.

    Args:
        last_step: number of the step after which `ended` is set.
    """

    def __init__(self, last_step):
        self.last_step, self.ended = last_step, threading.Event()
        self.updates, self.rows = [], []

    def update(self, text, done, total):
        self.updates.append((text, done, total))

    def metrics(self, rows):
        self.rows += rows
        if rows[-1]["step"] == self.last_step:
            self.ended.set()


def test_new_steps_are_reported(file, monkeypatch):
    """The metrics of steps before an interruption are reported, too: a tracker needs them all."""
    monkeypatch.setattr(metrics_log, "POLL_SECONDS", 0.05)
    earlier = Log(file, 0)
    earlier.write(**row(0))
    earlier.upload()
    reported = Reported(last_step=2)
    with following(file, reported, lambda: ""):
        log = Log(file, 1)
        log.write(**row(1))
        log.write(**row(2))
        assert reported.ended.wait(HANG)
    assert reported.updates[-1] == ("epoch 2, loss 1.000", 3, 6)
    assert all(done > 1 for _, done, _ in reported.updates)
    assert reported.rows == [row(0), row(1), row(2)]


def test_each_line_is_parsed_once(file, monkeypatch):
    """The file of a long training is as long at each of many reads."""
    parsed = []

    def parse(data):
        parsed.append(data)
        return parse_metrics(data)

    monkeypatch.setattr(metrics_log, "parse_metrics", parse)
    content, new = b"", NewRows(file)
    assert new.read() == []
    for step in range(4):
        line = json.dumps(row(step)).encode() + b"\n"
        file.write(content + line[:9])
        assert new.read() == []  # the line has no end yet
        content += line
        file.write(content)
        assert new.read() == [row(step)]
    assert new.take() == [row(step) for step in range(4)]
    assert b"".join(parsed) == content


@pytest.mark.parametrize("loss", [1.0, 22.5], ids=["the same loss", "another loss"])
@pytest.mark.parametrize("steps", [3, 5, 7])
def test_a_file_that_is_written_again_is_read_from_its_beginning(file, steps, loss):
    """Rows of steps that are trained again are not new, but they show how far the training is."""

    def write(rows):
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    new = NewRows(file)
    write(row(step) for step in range(5))
    assert len(new.read()) == len(new.take()) == 5
    again = [row(0), *(row(step) | {"loss": loss} for step in range(1, steps))]
    write(again)
    rows = new.read()
    assert rows == (again if loss != 1.0 or steps < 5 else again[5:])
    assert new.take() == again[5:]
    write([*again, row(steps)])
    assert new.read() == [row(steps)]
    assert new.take() == ([row(steps)] if steps >= 5 else [])


def test_steps_that_another_machine_writes_are_reported(file, monkeypatch):
    monkeypatch.setattr(metrics_log, "POLL_SECONDS", 0.05)
    reported = Reported(last_step=1)
    with following(file, reported, lambda: ""):
        lines = b'{"epoch": 0, "step": 1, "steps": 6, "loss": 1.0}\n'
        file.write(lines)
        assert reported.ended.wait(HANG)
    assert reported.updates == [("epoch 1, loss 1.000", 2, 6)]


def test_a_training_without_a_step_says_once_what_it_waits_for(file, monkeypatch):
    monkeypatch.setattr(metrics_log, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(metrics_log, "QUIET_SECONDS", 0.1)
    asked, notes, reported = [], [], Reported(last_step=1)
    monkeypatch.setattr(reported, "note", notes.append)
    answers = itertools.chain(["", ""], itertools.repeat("1 free GPU"))

    def waits_for():
        asked.append(next(answers))
        if asked[-1]:
            reported.ended.set()
        return asked[-1]

    with following(file, reported, waits_for):
        assert reported.ended.wait(HANG)
        time.sleep(0.5)  # longer than several reads
    assert notes == ["waits for 1 free GPU"]
    assert asked == ["", "", "1 free GPU"]


def test_a_forgotten_training_leaves_nothing(file):
    home = file.parent / "abc"
    (home / "epoch_0001" / "state.pt").write(b"x")
    Log(file, 0).upload()
    assert file.exists()
    checkpoints.forget(home)
    assert not file.exists()
    assert not home.exists()
    assert not file.storage.local_copy(file.name).exists()
