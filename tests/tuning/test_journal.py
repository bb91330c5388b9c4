"""Tests of the journal of a sweep: its start and its seconds over several passes, and its lock."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.records.schema import SweepRecord, Trial, read_sweep
from wsss.platform.storage.json_files import read_record, write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning import journal as journal_module
from wsss.platform.tuning import scored_sweep, tuner
from wsss.platform.tuning.journal import Journal, SweepPlan
from wsss.platform.tuning.sweep import Sweep

FIRST, SECOND = "2026-01-01T00:00:00+0000", "2026-01-02T00:00:00+0000"


def plan_from(started):
    return SweepPlan(digest="d", trials=3, command="c", started=started)


def trial(number):
    return Trial(id=f"{number:04d}", params={}, status="done", seconds=1.0, value=0.5)


def test_the_seconds_of_all_passes_are_added_up(tmp_path, monkeypatch):
    """A killed pass counts until its last trial; the time between two passes does not count."""
    clock = [100.0]
    monkeypatch.setattr(journal_module, "monotonic", lambda: clock[0])
    first = Journal(Store(tmp_path), "passes")
    assert first.note_seconds() == 0.0
    assert not first.plan.exists()
    assert first.begin(plan_from(FIRST)) == plan_from(FIRST)
    clock[0] += 30
    first.add(trial(0))
    clock[0] += 1000
    second = Journal(Store(tmp_path), "passes")
    assert second.begin(plan_from(SECOND)) == dataclasses.replace(plan_from(FIRST), seconds=30.0)
    clock[0] += 7
    second.add(trial(1))
    clock[0] += 5
    assert second.note_seconds() == 42.0
    assert read_record(second.plan, SweepPlan).seconds == 42.0
    assert [t.id for t in second.trials()] == ["0000", "0001"]


def test_the_plan_of_an_earlier_version_has_no_seconds(tmp_path):
    journal = Journal(Store(tmp_path), "old")
    write_json(journal.plan, {"digest": "d", "trials": 3, "command": "c"})
    assert journal.begin(plan_from(SECOND)) == plan_from(SECOND)


def record_of(sweep, name):
    trials = tuple(
        Trial(id=f"000{k}", params={"lpcam.tau": tau}, status="done", seconds=s, value=v)
        for k, (tau, s, v) in enumerate([(0.1, 9.0, 0.5), (0.2, 1.0, 0.4)])
    )
    return SweepRecord(
        name=name, method="lpcam", dataset="voc", split="train", space={}, trials=trials,
        best="0000", default={}, run=None, command="", started=FIRST, seconds=1.0, digest="d",
        objectives=sweep.objectives,
    )  # fmt: skip


@pytest.fixture
def sweep():
    return Sweep(base=build_experiment("lpcam"), space={"lpcam.tau": [0.1, 0.2]})


def test_the_files_of_a_record_are_written_together(tmp_path, sweep, monkeypatch):
    """Another command that chooses another point meanwhile leaves no record of one rule beside an
    experiment file of another rule."""
    store = Store(tmp_path)
    journal, record = Journal(store, "rules"), record_of(sweep, "rules")
    write_json(journal.path, record)
    by_seconds = dataclasses.replace(sweep, best="seconds")
    monkeypatch.setattr(tuner, "run", lambda *arguments: record)
    monkeypatch.setattr(scored_sweep, "_untuned_and_best", lambda *arguments: ([None], [None]))

    def run_scored():
        return scored_sweep.run(
            SimpleNamespace(store=store), sweep, "rules", "command",
            nullcontext, lambda planned: SimpleNamespace(name="r"),
        )  # fmt: skip

    with Journal(store, "rules").lock():
        for write in (lambda: tuner._by_rule(journal, record, by_seconds, "text"), run_scored):
            with pytest.raises(InputError, match="sweep 'rules' is running already"):
                write()
        assert read_sweep(journal.path) == record
        assert not (journal.folder / "experiment.yaml").exists()
        assert not (journal.folder / scored_sweep.BEST_FILE).exists()
    assert run_scored().record.run == "r"
    assert "tau: 0.1" in (journal.folder / scored_sweep.BEST_FILE).read().decode()
