"""Tests of `--log`: what the trackers of a whole run get, and that they change nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from recording_tracker import Broken, Recorder
from small_jobs import SMALL_WORDS, TRAIN
from wsss.platform.cli import run_commands
from wsss.platform.config.fields import walk
from wsss.platform.errors import InputError
from wsss.platform.records.schema import RunRecord, read_run
from wsss.platform.trackers import opening

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(autouse=True)
def trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "KINDS", (Recorder, Broken))
    monkeypatch.setattr(Recorder, "events", [])


def record_of(job: Any, name: str) -> RunRecord:
    return read_run(job.store.location("runs", name, "run.json"))


def test_trackers_get_a_run_from_its_fields_to_its_pictures(wsss: Any, job: Any) -> None:
    words = ("run", "lpcam", *SMALL_WORDS)
    code, _, err = wsss(*words, "--name", "tracked", "--log", "broken", "--log", "recorder")
    assert code == 0
    assert err.splitlines() == [
        "wsss: broken failed and gets nothing more of tracked: the disk is full"
    ]
    (start, run), *sent, last = Recorder.events
    assert (start, last) == ("start", ("end", "done"))
    assert set(run.fields) >= {name for name, _, _ in walk(job.experiment)}
    assert run.fields["training.epochs"] == 2
    numbers = {
        name: v for kind, rows, *_ in sent if kind == "scalars" for _, v in rows for name in v
    }
    record = record_of(job, "tracked")
    score = record.scores[record.subject]["val"]
    assert numbers["scores/val/lpcam/miou"]["scores/val/lpcam/miou"] == score.value
    assert {"network/loss", "network/lr", "seconds/network", "miou"} <= set(numbers)
    steps = [
        step
        for kind, rows, *_ in sent
        if kind == "scalars"
        for step, v in rows
        if "network/loss" in v
    ]
    assert steps == list(range(2 * TRAIN // 8))
    tables = {event[1]: event[2] for event in sent if event[0] == "table"}
    assert {row["split"] for row in tables["scores"]} == {"train", "val"}
    assert len(tables["confusion/val/lpcam"]) == len(score.classes)
    pictures = {event[1] for event in sent if event[0] == "image"}
    assert pictures == {"images"} | {
        f"confusion/{split}/{result}/picture"
        for split in ("train", "val")
        for result in ("cam", "lpcam")
    }

    code, _, _ = wsss(*words, "--name", "untracked")
    assert code == 0
    untracked = record_of(job, "untracked")
    assert untracked.digest == record.digest
    assert [s.key for s in untracked.stages] == [s.key for s in record.stages]


def test_a_tracker_that_cannot_be_used_is_refused_before_anything_runs(
    wsss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Recorder) -> None:
        raise InputError("the recorder is away; start it")

    def carry_out(*arguments: object) -> None:
        raise AssertionError("the run has begun")

    monkeypatch.setattr(Recorder, "check", refuse)
    monkeypatch.setattr(run_commands, "carry_out", carry_out)
    monkeypatch.setenv("WSSS_LOG", "recorder, broken")
    for command in ("run", "compare", "ablate", "sweep"):
        code, out, err = wsss(command, "sipe", *SMALL_WORDS)
        assert (code, out, err) == (2, "", "wsss: the recorder is away; start it\n")
    code, _, err = wsss("run", "lpcam", *SMALL_WORDS, "--log", "comet")
    assert code == 2
    assert "--log or WSSS_LOG names 'comet'" in err
