"""Tests of what trials cost: the stages that a sweep computes anew, and its budget."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import pytest
from wsss.platform.errors import InputError
from wsss.platform.pipeline.context import Catalog
from wsss.platform.records.schema import Trial
from wsss.platform.tuning import trial
from wsss.platform.tuning.costs.needed_stages import (
    NeededStages,
    marginal_costs,
    wait_for_next_second,
)
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.search.marginal_costs import TRIAL
from wsss.platform.tuning.sweep import Sweep, searcher

LATER, EARLIER = "2100-01-01T00:00:00+0000", "2000-01-01T00:00:00+0000"
SPACE = {"lpcam.tau": [0.11, 0.12], "lpcam.mu_f": {"uniform": [0.5, 0.9]}}


def test_a_point_needs_the_stages_that_the_store_did_not_hold(job: Any) -> None:
    """A sweep that began before any stage was written counts all of them."""
    base = job.experiment
    catalog, point = Catalog.of(job.store), {"lpcam.K": base.settings["lpcam"].K}
    sweep = Sweep(base=base, space={"lpcam.K": [2, 3, 4]}, budget="40 stages")
    needed = NeededStages(catalog, sweep, LATER)
    costs = marginal_costs(needed)
    assert needed.needs(point) == needed.computed(point, base.seed) == ()
    assert costs.before(9).marginal_cost(()) == TRIAL
    new = needed.needs({"lpcam.K": 3})
    assert new is not None
    assert [need.name for need in new] == ["centers", "similarities", "scores"]
    assert costs.before(9).marginal_cost(new) == TRIAL + 3
    seconds = marginal_costs(NeededStages(catalog, dataclasses.replace(sweep, budget="1h"), LATER))
    learnt = {record.title: record.seconds for record in needed.held()}
    expected = sum(learnt[need.title] for need in new)
    assert seconds.before(9).marginal_cost(new) == pytest.approx(TRIAL + expected)
    assert needed.needs({"lpcam.split": "nowhere"}) is None
    began = NeededStages(catalog, sweep, EARLIER)
    names = [need.name for need in began.needs(point) or ()]
    assert names == [record.stage for record in began.computed(point, base.seed)]
    assert {"network", "maps", "centers", "similarities", "scores"} <= {*names}
    assert began.held() == ()


def test_parts_are_no_objective_of_data_that_mark_none(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = [
        Sweep(base=job.experiment, space=SPACE, objectives=("miou", "parts")),
        Sweep(base=job.experiment, space=SPACE, best="miou where parts >= 10"),
    ]
    for sweep in sweeps:
        assert trial.planned_base(Catalog.of(job.store), sweep)
    monkeypatch.setattr(Catalog, "has_parts", lambda *arguments: False)
    for sweep in sweeps:
        with pytest.raises(
            InputError, match=r"parts needs marked parts .* 'scenes' marks none; ch"
        ):
            trial.planned_base(Catalog.of(job.store), sweep)


def carried_out(job: Any, sweep: Sweep, started: str, before: Sequence[Trial] = ()) -> list[Trial]:
    """Return the trials of a sweep in this process, without Tune, after those in its journal."""
    catalog = Catalog.of(job.store)
    needed = NeededStages(catalog, sweep, started)
    costs = marginal_costs(needed)
    points = searcher(sweep, costs)
    for ended in before:
        points.recall(int(ended.id), ended.params)
    queue = TrialQueue(sweep, points, before, costs)
    while queue.left and (config := queue.suggest()):
        report = trial.run(catalog, sweep, config["point"], config["seed"], lambda row: None)
        ended = Trial(
            id=f"{config['number']:04d}",
            params=config["point"],
            status="done",
            seconds=0.0,
            value=report["value"],
            stages=needed.computed(config["point"], config["seed"]),
        )
        queue.end(config["number"], ended)
    assert len(queue.ended) == queue.total
    return [queue.ended[number] for number in sorted(queue.ended)]


@pytest.mark.parametrize(
    ("kind", "budget"), [("eipu", "10 stages"), ("eipu", "1h"), ("random", "10 stages")]
)
def test_a_sweep_with_a_budget_resumes_with_the_same_trials(
    in_process: None, job: Any, kind: str, budget: str
) -> None:
    """What an interrupted trial computed counts as computed by the sweep, not as held before."""
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    wait_for_next_second(started)
    sweep = Sweep(base=job.experiment, space=SPACE, kind=kind, budget=budget, trials=12)
    whole = carried_out(job, sweep, started)
    assert len(whole) >= 4
    for end in (1, 2, 3):
        assert carried_out(job, sweep, started, whole[:end]) == whole
