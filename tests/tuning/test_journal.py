"""Tests of the journal of a sweep: its start and its seconds over several passes, and its lock."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack, nullcontext
from threading import Timer
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


@pytest.fixture
def journal(tmp_path, sweep, monkeypatch):
    """Return the journal of a finished sweep, on whose record `scored_sweep.run` goes on."""
    journal = Journal(Store(tmp_path), "rules")
    write_json(journal.path, record_of(sweep, "rules"))
    monkeypatch.setattr(tuner, "run", lambda *arguments: read_sweep(journal.path))
    monkeypatch.setattr(scored_sweep, "Journal", lambda store, name: journal)
    monkeypatch.setattr(scored_sweep, "_untuned_and_best", lambda *arguments: (["u"], ["r"]))
    return journal


def run_scored(sweep, meanwhile=lambda: None):
    """Run the best point of a finished sweep; another command does something meanwhile."""

    def carry_out(name):
        if name == "r":
            meanwhile()
        return SimpleNamespace(name=name)

    catalog = SimpleNamespace(store=None)
    return scored_sweep.run(catalog, sweep, "rules", "command", nullcontext, carry_out).record


def choose(journal, sweep):
    """Choose the best point of a finished sweep by another rule, as `tuner.run` does."""
    return tuner._by_rule(journal, read_sweep(journal.path), sweep, f"best: {sweep.best}")


def test_the_files_of_a_record_are_written_together(journal, sweep):
    """Another command that chooses another point meanwhile leaves no record of one rule beside an
    experiment file of another rule."""
    by_seconds = dataclasses.replace(sweep, best="seconds")
    before = journal.path.read()
    with (
        journal.lock(),
        pytest.raises(InputError, match="sweep 'rules' is running already"),
    ):
        choose(journal, by_seconds)
    assert journal.path.read() == before
    assert not (journal.folder / "experiment.yaml").exists()
    record = run_scored(sweep)
    assert (record.run, record.untuned) == ("r", "u")
    assert read_sweep(journal.path) == record
    assert "tau: 0.1" in journal.best.read().decode()
    assert choose(journal, by_seconds).run is None
    assert not journal.best.exists()
    assert run_scored(by_seconds).best == "0001"
    assert "tau: 0.2" in journal.best.read().decode()


def test_a_command_whose_runs_end_late_keeps_the_rule_chosen_meanwhile(journal, sweep):
    by_seconds = dataclasses.replace(sweep, best="seconds")
    late = run_scored(sweep, lambda: choose(journal, by_seconds))
    assert (late.rule, late.best, late.run) == ("miou", "0000", "r")
    record = read_sweep(journal.path)
    assert (record.rule, record.best, record.run) == ("seconds", "0001", None)
    assert not journal.best.exists()


def test_a_command_whose_runs_end_late_names_them_where_the_point_is_the_same(journal, sweep):
    both = dataclasses.replace(sweep, objectives=("miou", "seconds"))
    run_scored(sweep, lambda: choose(journal, both))
    record = read_sweep(journal.path)
    assert (record.objectives, record.best, record.run) == (("miou", "seconds"), "0000", "r")


def test_a_rule_is_applied_to_the_record_as_it_is_then(journal, sweep):
    """The record may have been completed after a command read it."""
    read_before = read_sweep(journal.path)
    run_scored(sweep)
    both = dataclasses.replace(sweep, objectives=("miou", "seconds"))
    assert tuner._by_rule(journal, read_before, both, "").run == "r"
    assert read_sweep(journal.path).run == "r"


def test_the_runs_wait_for_another_command_to_be_named(journal, sweep):
    """It would be told after hours that the sweep is running already."""
    with ExitStack() as stack:

        def hold():
            stack.enter_context(journal.lock())
            Timer(0.2, stack.close).start()

        run_scored(sweep, hold)
    assert read_sweep(journal.path).run == "r"


def test_a_sweep_that_is_removed_while_its_runs_are_carried_out_stays_removed(journal, sweep):
    assert run_scored(sweep, journal.path.remove).run == "r"
    assert not journal.path.exists()
    assert not journal.best.exists()


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("precision", "no trial has a finite precision; choose another --best"),
        ("miou where recall >= 1", "no trial keeps the rule 'miou where recall >= 1'; choose"),
    ],
)
def test_a_rule_without_a_point_is_refused(journal, sweep, rule, sentence):
    with pytest.raises(InputError, match=sentence):
        choose(journal, dataclasses.replace(sweep, best=rule))
