"""Tests of schedulers: what all of them promise, without Ray's processes."""

from __future__ import annotations

import pytest
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.ray_runtime.quirks.trials import EndedTrial
from wsss.platform.records.schema import Trial
from wsss.platform.tuning.runner.schedulers import MAKERS, make_scheduler
from wsss.platform.tuning.sweep import POPULATION, Sweep

VALUES = [0.5, 0.6, 0.7, 0.1, 0.8, 0.2, 0.05, 0.9, 0.3, 0.65]
"""What each trial scores at its rungs; the fourth is worse than all before it."""


@pytest.fixture(params=MAKERS)
def sweep(request):
    base = build_experiment("cam", changes={"training.epochs": 8})
    return Sweep(base=base, space={"training.lr": VALUES}, scheduler=request.param)


def carried_out(sweep, done=()):
    """Return the trials of a sweep that ran one after another, after those that had ended."""
    scheduler, trials = make_scheduler(sweep, done), [*done]
    for number in range(len(done), len(VALUES)):
        trial, rungs, action = EndedTrial(str(number), {"number": number}), [], "CONTINUE"
        scheduler.on_trial_add(None, trial)
        for epochs in sweep.rungs:
            rungs.append((epochs, VALUES[number] + epochs / 100))
            action = scheduler.on_trial_result(
                None, trial, dict(zip(("epoch", "value"), rungs[-1], strict=True))
            )
            if action == "STOP":
                break
            assert action == "CONTINUE"  # a paused trial would hold its place
        if action != "STOP":
            scheduler.on_trial_complete(None, trial, {"value": 1.0, "score": None})
        trials.append(
            Trial(
                id=f"{number:04d}", params={}, seconds=0.0, rungs=tuple(rungs),
                status="stopped" if action == "STOP" else "done",
            )
        )  # fmt: skip
    return trials


def test_trainings_that_do_worse_are_stopped_and_the_best_are_not(sweep):
    assert sweep.rungs == [2, 4]
    statuses = [trial.status for trial in carried_out(sweep)]
    assert statuses[0] == "done"
    assert statuses[6] == "stopped"  # the worst of all
    assert all(statuses[number] == "done" for number in (2, 4, 7))  # better than all before them


def test_a_sweep_that_was_interrupted_stops_the_same_trainings(sweep):
    whole = carried_out(sweep)
    for end in (1, 4, 8):
        assert carried_out(sweep, whole[:end]) == whole


@pytest.mark.parametrize("scheduler", [*MAKERS, POPULATION])
def test_the_seconds_of_trainings_are_no_objective(scheduler):
    """A training that is stopped early would look cheap to the search."""
    options = {"space": {"training.lr": [0.1, 0.2]}, "trials": 2, "scheduler": scheduler}
    base = build_experiment("cam", changes={"training.epochs": 8})
    message = f"--scheduler {scheduler} stops or shares trainings, so the seconds of trials"
    for objectives in (("seconds",), ("miou", "seconds")):
        with pytest.raises(InputError, match=message):
            Sweep(base=base, objectives=objectives, **options)


def test_a_trial_that_is_not_stopped_has_seconds_for_the_rule():
    base = build_experiment("cam", changes={"training.epochs": 8})
    rule = "miou where seconds <= 600"
    sweep = Sweep(base=base, space={"training.lr": [0.1, 0.2]}, scheduler="asha", best=rule)
    assert sweep.best == rule


def test_an_unknown_scheduler_is_refused():
    with pytest.raises(InputError, match=r"unknown scheduler 'odd'; there are asha, .*, pbt$"):
        Sweep(base=build_experiment("cam"), space={"training.lr": [0.1]}, scheduler="odd")
