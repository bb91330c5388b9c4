"""Tests of the metrics file of a training, on disk and in a bucket."""

from __future__ import annotations

import threading

import pytest
from limits import HANG
from wsss.platform.records.progress_file import read_metrics
from wsss.platform.stages.training import checkpoints, metrics_log
from wsss.platform.stages.training.metrics_log import Log, following
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


def test_new_steps_are_reported(file, monkeypatch):
    monkeypatch.setattr(metrics_log, "POLL_SECONDS", 0.05)
    earlier = Log(file, 0)
    earlier.write(**row(0))
    earlier.upload()
    reported, last = [], threading.Event()

    def progress(text, done, total):
        reported.append((text, done, total))
        if done == 3:
            last.set()

    with following(file, progress):
        log = Log(file, 1)
        log.write(**row(1))
        log.write(**row(2))
        assert last.wait(HANG)
    assert reported[-1] == ("epoch 2, loss 1.000", 3, 6)
    assert all(done > 1 for _, done, _ in reported)


def test_steps_that_another_machine_writes_are_reported(file, monkeypatch):
    monkeypatch.setattr(metrics_log, "POLL_SECONDS", 0.05)
    last = threading.Event()
    with following(file, lambda text, done, total: done == 2 and last.set()):
        lines = b'{"epoch": 0, "step": 1, "steps": 6, "loss": 1.0}\n'
        file.write(lines)
        assert last.wait(HANG)


def test_a_forgotten_training_leaves_nothing(file):
    home = file.parent / "abc"
    (home / "epoch_0001" / "state.pt").write(b"x")
    Log(file, 0).upload()
    assert file.exists()
    checkpoints.forget(home)
    assert not file.exists()
    assert not home.exists()
    assert not file.storage.local_copy(file.name).exists()
