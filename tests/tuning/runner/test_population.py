"""Tests of population based training: which trial takes over which, without Ray's processes."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from paused_trials import begin
from wsss.platform.config.limits import SchedulerName
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.records.schema import Trial
from wsss.platform.tuning import trial, tuner
from wsss.platform.tuning.runner.population import CHANGES, Population, changed
from wsss.platform.tuning.runner.schedulers import MAKERS
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.spaces.domains import Numbers
from wsss.platform.tuning.sweep import POPULATION, Sweep, searcher

SPACE = {"training.lr": {"loguniform": [0.001, 1]}, "training.momentum": [0.5, 0.8, 0.9]}
EPOCHS = {"training.epochs": 8}


def sweep_of(space=SPACE, changes=EPOCHS, **options):
    base = build_experiment("cam", changes=changes)
    options = {"trials": 6, "scheduler": "pbt", **options}
    return Sweep(base=base, space=space, **options)


def begun(sweep):
    """Return the population of a sweep, its scheduler, and its trials before their first epoch."""
    population = Population(sweep, TrialQueue(sweep, searcher(sweep), []))
    scheduler = population.scheduler()
    return population, scheduler, begin(population, scheduler)


def score(member):
    """Return a score that prefers a learning rate of 0.05 at all times."""
    return 1 - abs(member.config["values"]["training.lr"] - 0.05) - member.config["number"] / 1e6


def carried_out(sweep, order=None, again=()):
    """Return the points of a population at the end, whose trials report in a drawn order."""
    population, scheduler, controller = begun(sweep)
    for rung, epochs in enumerate(sweep.rungs):
        members = [*controller.members]
        random.Random(order or 0).shuffle(members)
        for member in members:
            for earlier in sweep.rungs[: rung if member in again or order else 0]:
                result = {"epoch": earlier, "value": 0.0}
                assert scheduler.on_trial_result(controller, member, result) == "CONTINUE"
            action = scheduler.on_trial_result(
                controller, member, {"epoch": epochs, "value": score(member)}
            )
            assert action in ("PAUSE", "NOOP")
        assert scheduler.choose_trial_to_run(controller)
    end = {"value": 0.5, "score": None}
    assert all(scheduler.on_trial_result(controller, m, end) == "CONTINUE" for m in members)
    return population, [member.config for member in controller.members]


def test_the_worst_trainings_take_over_the_best_and_change_their_options():
    sweep = sweep_of()
    assert sweep.rungs == [2, 4, 6]
    population, configs = carried_out(sweep)
    first = population.points[:6]
    assert [config["number"] for config in configs] == [*range(6)]
    taken = [config for config in configs if CHANGES in config["point"]]
    assert taken
    assert len(population.points) == 6 + 2 * 3  # two of six trials at each of three rungs
    for config in configs:
        experiment = sweep.trial_experiment(config["point"])
        last = experiment.training.at(7)
        for name in ("lr", "momentum"):
            assert getattr(last, name) == config["values"][f"training.{name}"]
        start = {name: value for name, value in config["point"].items() if name != CHANGES}
        assert start in first


def test_a_population_ends_the_same_whichever_trial_reports_first():
    whole = carried_out(sweep_of())[1]
    for order in (1, 2):
        random.seed(order)
        assert carried_out(sweep_of(), order)[1] == whole
    base = build_experiment("cam", changes={**EPOCHS, "seed": 1})
    assert carried_out(Sweep(base=base, space=SPACE, trials=6, scheduler="pbt"))[1] != whole


@pytest.mark.parametrize("seed", range(4))
def test_a_takeover_changes_a_value(seed):
    space = {"training.lr": [0.05, 0.1, 0.5]}
    sweep = sweep_of(space, {**EPOCHS, "seed": seed})
    taken = carried_out(sweep)[0].points[3:]
    for epochs, point in zip((2, 4, 6), taken, strict=True):
        assert point.get(CHANGES, [""])[-1].startswith(f"{epochs}: ")


def test_values_stay_within_their_domains():
    space = {"training.lr": {"quniform": [0.02, 0.1, 0.02]}, "training.power": {"uniform": [0, 1]}}
    for config in carried_out(sweep_of(space))[1]:
        assert 0 <= config["values"]["training.power"] <= 1
        assert config["values"]["training.lr"] in (0.02, 0.04, 0.06, 0.08, 0.1)
    assert Numbers(0.1, 1).nearest(3) == 1
    assert Numbers(0, 1, step=0.25).nearest(0.4) == 0.5


def test_tune_is_given_the_points_in_their_order():
    from ray.tune.search.variant_generator import generate_variants

    population, _, controller = begun(sweep_of())
    configs = [config for _, config in generate_variants(population.param_space())]
    assert configs == [member.config for member in controller.members]


def test_a_trial_that_fails_reports_at_every_rung(monkeypatch):
    def fail(*_):
        raise InputError("it diverged; lower training.lr")

    monkeypatch.setattr(trial, "_attempt", fail)
    sweep, reports = sweep_of(), []
    result = trial.run(None, sweep, {}, 0, reports.append)
    assert result["error"] == "InputError: it diverged; lower training.lr"
    assert reports == [{"value": trial.FAILED, "epoch": epochs} for epochs in (2, 4, 6)]
    sweep = sweep_of(scheduler="asha")
    trial.run(None, sweep, {}, 0, reports.append)
    assert len(reports) == 3


def test_trials_do_not_wait_for_one_that_was_lost():
    sweep = sweep_of()
    _, scheduler, controller = begun(sweep)
    for member in controller.members[1:]:
        scheduler.on_trial_result(controller, member, {"epoch": 2, "value": score(member)})
    controller.members[0].status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is None
    controller.members[0].ended = True
    assert scheduler.choose_trial_to_run(controller)


@pytest.mark.parametrize("lost_at", [2, 4, 6])
def test_all_trials_but_a_lost_one_reach_their_end(lost_at):
    """The last of four trials is lost before a rung; a trial reports from the first rung on."""
    sweep = sweep_of(trials=4)
    _, scheduler, controller = begun(sweep)
    *others, lost = controller.members
    turns = 0
    while member := scheduler.choose_trial_to_run(controller):
        turns += 1
        assert turns <= 4 * 4, "a trial computes a rung more than once"
        for epochs in sweep.rungs:
            if (member, epochs) == (lost, lost_at):
                member.ended, member.status = True, "ERROR"
                break
            report = {"epoch": epochs, "value": score(member)}
            if scheduler.on_trial_result(controller, member, report) != "CONTINUE":
                break
        else:
            member.ended, member.status = True, "TERMINATED"
    assert lost.status == "ERROR"
    assert [member.status for member in others] == ["TERMINATED"] * 3


def test_a_resumed_population_has_not_ended_by_its_earlier_pass():
    before = [
        Trial(id=f"{k:04d}", params={}, status="done", seconds=0, value=0.5) for k in range(6)
    ]
    queue = tuner._queue(sweep_of(), before, None)
    queue.end(0, before[0])
    with pytest.raises(InputError, match="'wide' was broken off after 1 of 6 trials; --resume"):
        queue.check_ended("wide")
    for number in range(1, 6):
        queue.end(number, before[number])
    queue.check_ended("wide")


def test_a_change_names_only_the_values_that_differ():
    point = {"training.lr": 0.1, "training.momentum": 0.9}
    once = changed(point, 2, point, {"training.lr": 0.2, "training.momentum": 0.9})
    assert once == {**point, CHANGES: ["2: lr=0.2"]}
    assert changed(once, 4, point, point) == once
    twice = changed(once, 4, point, {"training.lr": 0.1, "training.momentum": 0.5})
    assert twice[CHANGES] == ["2: lr=0.2", "4: momentum=0.5"]
    assert changed(point, 2, point, point) == point


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {"lpcam.tau": [0.1, 0.2]}}, "unknown field 'lpcam.tau'"),
        ({"space": {"training.crop": [64, 96]}}, "but training.crop cannot change there; give a"),
        (
            {"changes": {**EPOCHS, "training.optimizer": "adamw"}},
            "changes training.momentum, which has no effect with optimizer adamw; leave it out",
        ),
        ({"kind": "tpe"}, "cannot be combined with --search tpe"),
        ({"budget": "2h"}, "cannot be combined with --budget"),
        ({"best": "miou where seconds <= 9"}, "seconds of trials cannot be compared; leave sec"),
        ({"repeats": 3}, "needs one random seed for all; leave out --repeats 3"),
        ({"trials": 1}, "it has --trials 1 and training.epochs 8"),
        ({"changes": {"training.epochs": 1}}, "it has --trials 6 and training.epochs 1"),
        ({"changes": {**EPOCHS, "training.changes": ["2: lr=1"]}}, "sets training.changes itself"),
    ],
)
def test_what_a_population_cannot_do_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        sweep_of(**options)


def test_every_scheduler_has_a_maker():
    assert {*MAKERS, POPULATION} == {*get_args(SchedulerName)}
