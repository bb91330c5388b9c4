"""The points of a sweep, each with its trials, ranked by the mean of their values."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..records.schema import Trial
from ..serialization import as_json


@dataclass(frozen=True, kw_only=True)
class Point:
    """The trials by which a point of a search space counts, with mean and spread of the objective.

    The spread is the standard deviation, 0 for a single trial. `tied` says whether the best point's
    mean is above this mean by no more than the larger one of the two points' spreads.
    """

    trials: tuple[Trial, ...]
    mean: float
    spread: float
    tied: bool = False


def point_key(params: Mapping[str, object]) -> str:
    """Return a text that two points share if all their values are the same."""
    return json.dumps(as_json(params), sort_keys=True)


def counted_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials by which a point counts: the first finished one of each random seed.

    A search may try a point twice. The second trial is the same training, and finds its stages in
    the store. The list is empty where a scheduler stopped the training of a random seed, because
    the better seeds alone would make the point look better than it is.

    Args:
        trials: all trials of the point, in the order of their numbers.
    """
    finished: dict[int, Trial] = {}
    for trial in trials:
        if trial.status == "done":
            finished.setdefault(trial.seed, trial)
    stopped = {trial.seed for trial in trials if trial.status == "stopped"}
    return [] if stopped - finished.keys() else [*finished.values()]


def trials_by_point(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Return the `counted_trials` of each point that has any, by the `point_key` of its values."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(point_key(trial.params), []).append(trial)
    counted = {key: counted_trials(group) for key, group in groups.items()}
    return {key: group for key, group in counted.items() if group}


def ranking(trials: Sequence[Trial]) -> list[Point]:
    """Return the points of a sweep by the mean of their trials' values, best first.

    Points without a finished trial that has a finite value, or with a stopped training, are left
    out.
    """
    points = []
    for group in trials_by_point(trials).values():
        known = [(t, t.value) for t in group if t.value is not None and math.isfinite(t.value)]
        if known:
            values = [value for _, value in known]
            points.append(
                Point(
                    trials=tuple(trial for trial, _ in known),
                    mean=statistics.fmean(values),
                    spread=statistics.stdev(values) if len(values) > 1 else 0.0,
                )
            )
    points.sort(key=lambda p: -p.mean)
    return [
        dataclasses.replace(p, tied=0 < max(p.spread, points[0].spread) >= points[0].mean - p.mean)
        for p in points
    ]
