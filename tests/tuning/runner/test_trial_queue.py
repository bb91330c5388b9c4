"""Tests of the queue of trials: what it tells the search, and what it counts for a budget."""

from __future__ import annotations

import itertools

import pytest
from wsss.platform.method import build_experiment
from wsss.platform.records.schema import StageRecord, SweepRecord, Trial
from wsss.platform.tuning import tuner
from wsss.platform.tuning.budget import spending
from wsss.platform.tuning.costs.needed_stages import LOST
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.search import MarginalCosts
from wsss.platform.tuning.spaces.points import grid
from wsss.platform.tuning.sweep import Sweep, searcher

SPACE = {"lpcam.tau": [0.1, 0.2, 0.3, 0.4]}


def sweep_of(**options):
    return Sweep(base=build_experiment("lpcam"), space=SPACE, **options)


def trial(number, tau, value=0.5, seconds=1.0, seed=0, stages=(), status="done"):
    return Trial(
        id=f"{number:04d}", params={"lpcam.tau": tau}, status=status, seconds=seconds, seed=seed,
        value=None if status == "failed" else value, stages=stages,
        error="it failed" if status == "failed" else None,
    )  # fmt: skip


def stage(name, seconds, key):
    return StageRecord(stage=name, title=name, key=key, seconds=seconds, cached=False)


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_a_search_is_told_the_seconds_of_the_first_try_of_a_point(order):
    """The second try finds all stages in the store; which trial ends first makes no difference."""
    sweep = sweep_of(objectives=("miou", "seconds"), kind="nsga2", trials=3, concurrent=3)
    trials = [trial(0, 0.1, 0.5, 90.0), trial(1, 0.2, 0.4, 70.0), trial(2, 0.1, 0.5, 0.2)]
    values = {0: [0.5, 90.0], 1: [0.4, 70.0], 2: [0.5, 90.0]}
    queue = TrialQueue(sweep, searcher(sweep), [])
    for number in order:
        queue.end(number, trials[number])
    assert queue.values_by_point() == values
    assert TrialQueue(sweep, searcher(sweep), trials).values_by_point() == values


def test_a_second_try_has_the_values_of_the_first_one_with_its_random_seed():
    sweep = sweep_of(objectives=("seconds",), kind="tpe", trials=2, repeats=2)
    trials = [
        trial(0, 0.1, seconds=90.0, seed=0), trial(1, 0.1, seconds=70.0, seed=1),
        trial(2, 0.1, seconds=0.2, seed=0), trial(3, 0.1, seconds=0.1, seed=1),
    ]  # fmt: skip
    assert TrialQueue(sweep, searcher(sweep), trials).values_by_point() == {0: [80.0], 1: [80.0]}
    trials[0] = trial(0, 0.1, status="failed")
    queue = TrialQueue(sweep, searcher(sweep), [])
    for number, ended in enumerate(trials):
        queue.end(number, ended)
    assert queue.values_by_point() == {0: [70.0], 1: [pytest.approx(35.1)]}


def test_a_resumed_sweep_counts_what_its_failed_trials_lost_before():
    """They run again, although that is more than the budget allows."""
    sweep = sweep_of(kind="random", budget="50s", concurrent=2)
    points = [*grid(sweep.space)]
    lost = stage(LOST, 45.0, "0001-0")
    before = [
        trial(0, points[0]["lpcam.tau"], stages=(stage("scores", 10.0, "a"),)),
        trial(1, points[1]["lpcam.tau"], stages=(lost,), status="failed"),
    ]
    costs = MarginalCosts(lambda point: (), amount=50.0)
    queue = TrialQueue(sweep, searcher(sweep, costs), before, costs)
    assert costs.before(2).spent == 55.0
    assert queue.lost == {1: (lost,)}
    assert queue.suggest()["number"] == 1
    queue.end(1, trial(1, 0.2, stages=(lost, stage("scores", 5.0, "b"))))
    assert costs.before(2).spent == 60.0
    assert queue.suggest() is None
    assert queue.total == len(queue.ended) == 2


def test_the_last_sentence_names_what_the_budget_counted():
    sweep = sweep_of(kind="random", budget="50s")
    shared, lost = stage("network", 30.0, "network"), stage(LOST, 7.0, "0001-0")
    trials = (
        trial(0, 0.1, stages=(shared, stage("scores", 2.0, "a"))),
        trial(1, 0.2, stages=(shared, lost), seconds=8.0, status="failed"),
    )
    costs = MarginalCosts(lambda point: (), amount=50.0)
    queue = TrialQueue(sweep, searcher(sweep, costs), [], costs)
    for number, ended in enumerate(trials):
        queue.end(number, ended)
    record = SweepRecord(
        name="a-sweep", method="lpcam", dataset="scenes", split="train", space=SPACE, default={},
        trials=trials, best="0000", run=None, command="", started="2026-01-01T00:00:00+0000",
        seconds=1.0, digest="d", budget="50s",
    )  # fmt: skip
    assert costs.before(2).spent == 39.0
    assert spending(record) == "3 stages in 39 s of a budget of 50s"


def test_the_queue_of_a_resumed_sweep_gets_the_trials_that_failed():
    sweep, lost = sweep_of(trials=3, kind="random"), stage(LOST, 45.0, "0001-0")
    before = [trial(0, 0.1), trial(1, 0.2, status="failed", stages=(lost,))]
    queue = tuner._queue(sweep, before, None)
    assert [*queue.ended] == [0]
    assert queue.left == [1, 2]
    assert queue.lost == {1: (lost,)}
