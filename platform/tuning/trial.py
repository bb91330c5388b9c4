"""The execution of one trial of a sweep."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TypedDict

from ..errors import InputError
from ..pipeline import classify
from ..pipeline.context import Catalog, Step
from ..pipeline.execution import Execution
from ..pipeline.plan import Plan
from ..pipeline.planner import plan
from ..pipeline.prototypes import steps as prototype_steps
from ..ray_runtime.worker_errors import described
from ..records.schema import Score
from ..serialization import as_json
from .costs.stage_counts import stages_by_field, unneeded_stages
from .objectives import parse_rule
from .spaces.domains import has_functions
from .sweep import Sweep

FAILED = -1.0
"""Value at the rungs of a trial that fails, with which it takes over another training."""


class TrialReport(TypedDict, total=False):
    """What the process of a trial reports to Ray Tune at its end, and at each rung."""

    value: float | None
    score: dict[str, object] | None
    error: str | None
    cached: bool
    seconds: float
    epoch: int


def planned_base(catalog: Catalog, sweep: Sweep) -> Plan:
    """Return the plan of the trial in which no field of the space is changed.

    Raises:
        InputError: the trial cannot be planned, the split of the sweep has no masks, or an
            objective needs parts that it does not mark, or the scheduler has nothing to compare.
    """
    planned = plan(sweep.trial_experiment({}), catalog)
    data, split = sweep.base.data, sweep.split
    measures = {*sweep.objectives, *parse_rule(sweep.best).measures}
    if not planned.context.scored_splits:
        raise InputError(
            f"a sweep compares trials by their scores, but no image of split {split!r} of data "
            f"set {data!r} has a mask; choose another --split, or look at a few runs with wsss "
            "compare"
        )
    if sweep.scheduler and not _trains_differently(catalog, sweep):
        raise InputError(
            f"--scheduler {sweep.scheduler} compares trainings, but no option of the space changes "
            "the training of the classifier; leave it out"
        )
    if "parts" in measures and not catalog.has_parts(planned.context.shards, split):
        raise InputError(
            f"the objective parts needs marked parts of objects, but split {split!r} of data set "
            f"{data!r} marks none; choose another objective"
        )
    return planned


def _trains_differently(catalog: Catalog, sweep: Sweep) -> bool:
    """Return whether a field of the space may change the training of the classifier."""
    computed = has_functions(sweep.space)
    stages = stages_by_field(catalog, sweep) if not computed else {}
    return computed or any("network" in names for names in stages.values())


def run(
    catalog: Catalog,
    sweep: Sweep,
    point: Mapping[str, object],
    seed: int,
    report: Callable[[TrialReport], None],
) -> TrialReport:
    """Run one trial: compute the artifacts that are missing and read the score.

    A failure is a result like any other, so that one trial does not end the whole sweep.

    Args:
        catalog: catalog of the store that keeps the artifacts.
        sweep: sweep that the trial belongs to.
        point: values by full name of the field.
        seed: random seed of the trial.
        report: function that takes the score at each rung; it does not return where a scheduler
            stops the trial.
    """
    started = time.monotonic()
    out: TrialReport = {"value": None, "score": None, "error": None, "cached": False}
    for _ in range(sweep.retries + 1):
        try:
            out |= {"error": None, **_attempt(catalog, sweep, point, seed, report)}
            break
        except Exception as error:
            out["error"] = described(error)
    if out["error"] and sweep.is_population:
        for epochs in sweep.rungs:  # the whole population waits for each of its trials
            report({"value": FAILED, "epoch": epochs})
    return {**out, "seconds": round(time.monotonic() - started, 3)}


def _attempt(
    catalog: Catalog,
    sweep: Sweep,
    point: Mapping[str, object],
    seed: int,
    report: Callable[[TrialReport], None],
) -> TrialReport:
    started = time.monotonic()
    planned = plan(sweep.trial_experiment(point, seed), catalog)
    execution = Execution(catalog.store, planned)
    without = unneeded_stages(planned, sweep.split)
    missing = {stage.key for stage in execution.missing()} - {stage.key for stage in without}
    network = planned.network
    if sweep.scheduler and network:
        for epochs in sweep.rungs:
            if sweep.is_population:
                score: Score | None = score_member(execution, sweep.split, epochs)
            else:
                score = score_rung(execution, sweep.split, epochs, network.key in missing)
            if score:
                seconds = round(time.monotonic() - started, 3)
                report({**_result(score), "epoch": epochs, "seconds": seconds})
    if without:
        _score_at_once(execution, sweep.split)
    else:
        execution.execute()
    score = execution.read_scores(only=planned.final)[planned.final][sweep.split]
    return {**_result(score), "cached": not missing}


def _score_at_once(execution: Execution, split: str) -> None:
    """Score the chosen prototypes without writing their class maps."""
    planned = execution.plan
    maps, scores = planned.maps[planned.subject][split], planned.scores[planned.subject][split]
    execution.execute(without=(maps, scores))
    step = prototype_steps.scored_at_once(planned.context, scores, planned.chosen[split], split)
    execution.compute(step)


def _result(score: Score) -> TrialReport:
    row = as_json(dataclasses.replace(score, confusion=None))
    return {"value": score.value, "score": row}


def score_rung(execution: Execution, split: str, epochs: int, train: bool) -> Score | None:
    """Score the class maps of a trial's network after some epochs of its training.

    A later call for more epochs continues the training.

    Args:
        execution: execution of the trial.
        split: split on which the objective is measured.
        epochs: epochs of training at the rung.
        train: whether to train up to the rung where the store has no score of it.

    Returns:
        The score, or None where the whole training has no more than `epochs` epochs, or where the
        store has no score of the rung and `train` is False.
    """
    planned = execution.plan
    network, context, trained = planned.network, planned.context, planned.trained
    assert network is not None
    if epochs >= planned.experiment.training.epochs:
        return None
    step = classify.rung(context, trained, network, planned.beside, split, epochs)
    if train:
        execution.execute(before=network)
        if not execution.store.find(step.stage.name, step.stage.key):
            # While another trial trains the network, the step would wait, and count this as its own
            # seconds; so wait before it begins.
            with execution.store.lock(network.key):
                pass
        execution.compute(step)
    elif not execution.store.find(step.stage.name, step.stage.key):
        return None
    return _score_of(execution, step, split)


def score_member(execution: Execution, split: str, epochs: int) -> Score:
    """Score the class maps of a trial of a population after some epochs, and keep a checkpoint.

    Trainings that have changed other options before, or will do so later, share both.
    """
    planned = execution.plan
    context, trained, beside = planned.context, planned.trained, planned.beside
    assert planned.network is not None
    network = classify.network_stage(classify.before(context, epochs), trained, beside)
    kept = classify.checkpoint(context, trained, beside, epochs)
    rung = classify.rung(context, trained, network, beside, split, epochs, kept.stage)
    if not execution.store.find(rung.stage.name, rung.stage.key):
        execution.execute(before=planned.network)
        execution.compute(kept)
        execution.compute(rung)
    return _score_of(execution, rung, split)


def _score_of(execution: Execution, rung: Step, split: str) -> Score:
    context, background = execution.plan.context, execution.plan.trained.own_background
    return execution.runtime.read_scores(context, {split: rung.stage}, background, None)[split]
