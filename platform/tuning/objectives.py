"""Objectives of a sweep, the points that no other point beats, and the rule of the best point."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..records.schema import SweepRecord, Trial
from .ranking import Point, counted_trials, point_key, ranking, trials_by_point

SEED, PSEUDO_LABELS, PREDICTIONS = "seed", "pseudo labels", "predictions of the segmenter"
"""The results that trials may score."""
CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\d+(?:\.\d+)?(?:e-?\d+)?)\s*", re.ASCII)


class Objective(NamedTuple):
    """A figure of a trial that a sweep makes as large, or as small, as it can.

    Attributes:
        title: name with unit, as people read it.
        more: whether more is better.
        scale: factor from the recorded value to the unit of the title.
        value: returns the recorded value of a trial; None where the trial has no finite value, as
            precision without an activated pixel.
    """

    title: str
    more: bool
    scale: float
    value: Callable[[Trial], float | None]

    @property
    def unit(self) -> str:
        """The unit in which the value is shown: percent or seconds."""
        return "%" if self.scale == 100 else "s"

    def text(self, value: float) -> str:
        """Return a recorded value with its unit, as `47.1 %`."""
        return f"{self.scale * value:.1f} {self.unit}"


def _finite(value: float | None) -> float | None:
    """Return a value; None where it is infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


OBJECTIVES: Mapping[str, Objective] = {
    "miou": Objective("mIoU %", True, 100, lambda t: _finite(t.value)),
    "precision": Objective(
        "precision %", True, 100, lambda t: _finite(t.score.precision if t.score else None)
    ),
    "recall": Objective(
        "recall %", True, 100, lambda t: _finite(t.score.recall if t.score else None)
    ),
    "parts": Objective(
        "other parts %",
        True,
        100,
        lambda t: _finite((t.score.parts or {}).get("other") if t.score else None),
    ),
    "seconds": Objective("seconds", False, 1, lambda t: _finite(t.seconds)),
}
"""The objectives by name; `parts` is the share of the objects' parts that do not discriminate which
is activated, `seconds` the time of a trial beyond what the store held already."""


class Rule(NamedTuple):
    """The rule of the best point: an objective, among the points that keep some conditions.

    Attributes:
        objective: name of the objective.
        conditions: objective, `<=` or `>=`, and limit in the unit of the objective's title.
    """

    objective: str
    conditions: tuple[tuple[str, str, float], ...] = ()

    @property
    def measures(self) -> set[str]:
        """The names of all objectives that the rule names."""
        return {self.objective, *(name for name, _, _ in self.conditions)}

    def keeps(self, mean_by_objective: Mapping[str, float | None]) -> bool:
        """Return whether a point with these means, as recorded, keeps all conditions."""
        compare = {"<=": operator.le, ">=": operator.ge}
        for name, sign, limit in self.conditions:
            mean = mean_by_objective[name]
            if mean is None or not compare[sign](mean * OBJECTIVES[name].scale, limit):
                return False
        return True


def check_objectives(names: Sequence[str]) -> None:
    """Check that each name is that of an objective, given once.

    Raises:
        InputError: a name is unknown or given twice, or there is none.
    """
    for name in names:
        if name not in OBJECTIVES:
            raise InputError(f"unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"the objectives are {', '.join(names) or 'missing'}; name each one once")


def parse_rule(text: str) -> Rule:
    """Return the rule of OBJECTIVE [where OBJECTIVE >= NUMBER [and OBJECTIVE <= NUMBER]].

    Raises:
        InputError: the text is no rule, or names an unknown objective.
    """
    name, _, rest = text.strip().partition(" where ")
    conditions = []
    for part in rest.split(" and ") if rest else ():
        match = CONDITION.fullmatch(part)
        if not match:
            raise InputError(
                f"{text!r} is no rule of the best point; write OBJECTIVE, or OBJECTIVE where "
                "OBJECTIVE >= NUMBER, with rates in percent"
            )
        conditions.append((match[1], match[2], float(match[3])))
    check_objectives([name.strip()])
    for condition in conditions:
        check_objectives([condition[0]])
    return Rule(name.strip(), tuple(conditions))


def mean_objectives(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, float | None]:
    """Return the mean of each objective over the trials of a point; None where none has it."""
    means: dict[str, float | None] = {}
    for name in names:
        values = [v for t in trials if (v := OBJECTIVES[name].value(t)) is not None]
        means[name] = statistics.fmean(values) if values else None
    return means


def ranking_by(trials: Sequence[Trial], rule: Rule) -> list[Point]:
    """Return the points of a sweep by a rule, best first, with mean and spread of its objective.

    Points without a finished trial, with a stopped training, or which break a condition, are left
    out.
    """
    objective, originals = OBJECTIVES[rule.objective], {t.id: t for t in trials}
    sign = 1 if objective.more else -1
    scored = [
        dataclasses.replace(t, value=None if (v := objective.value(t)) is None else sign * v)
        for t in trials
    ]
    points = []
    names = [name for name, _, _ in rule.conditions]
    kept = {
        key
        for key, group in trials_by_point(trials).items()
        if rule.keeps(mean_objectives(group, names))
    }
    for point in ranking([t for t in scored if point_key(t.params) in kept]):
        own = tuple(originals[t.id] for t in point.trials)
        points.append(dataclasses.replace(point, trials=own, mean=sign * point.mean))
    return points


class BestSoFar:
    """The best mean over the points of a sweep by a rule, kept up to date trial by trial.

    Args:
        rule: the rule of the best point.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._key_by_id: dict[str, str] = {}
        self._trials: dict[str, dict[str, Trial]] = {}
        self._means: dict[str, float] = {}

    def add(self, trial: Trial) -> None:
        """Take note of a trial that ended; it replaces a trial with the same id."""
        key = point_key(trial.params)
        earlier = self._key_by_id.get(trial.id, key)
        self._trials.get(earlier, {}).pop(trial.id, None)
        self._key_by_id[trial.id] = key
        self._trials.setdefault(key, {})[trial.id] = trial
        for changed in {earlier, key}:
            self._update(changed)

    def _update(self, key: str) -> None:
        """Compute the mean of one point again."""
        trials = sorted(self._trials.get(key, {}).values(), key=lambda trial: int(trial.id))
        means = mean_objectives(counted_trials(trials), [*self.rule.measures])
        mean = means[self.rule.objective]
        self._means.pop(key, None)
        if mean is not None and self.rule.keeps(means):
            self._means[key] = mean

    @property
    def mean(self) -> float | None:
        """The mean of the objective at the best point, as recorded; None where there is none."""
        choose = max if OBJECTIVES[self.rule.objective].more else min
        return choose(self._means.values(), default=None)


def leading_points(sweep: SweepRecord) -> list[Point]:
    """Return the points that lead a finished sweep: the first by its rule, and those tied with it.

    The list is empty before the sweep has ended, and where no point keeps the rule's conditions.
    """
    ended = sweep.best is not None
    ranked = ranking_by(sweep.trials, parse_rule(sweep.rule)) if ended else []
    return [point for point in ranked if point.tied or point is ranked[0]]


def standing(sweep: SweepRecord) -> dict[str, str]:
    """Return the word for the trials of each leading point of a finished sweep, by their ids.

    A point is `best` only if the spread over random seeds tells it apart from all other points.
    Points that it does not tell apart are `tied`; without several random seeds, the first point is
    merely `chosen`.
    """
    points = leading_points(sweep)
    word = "tied" if len(points) > 1 else "best"
    if len(points) == 1 and len(points[0].trials) == 1:
        word = "chosen"
    return {trial.id: word for point in points for trial in point.trials}


def scored_result(fields: Iterable[str]) -> str:
    """Return what the trials of a sweep score: the result of the last stage that a field changes.

    Args:
        fields: full names of the fields that the sweep varies.

    Returns:
        SEED, PSEUDO_LABELS or PREDICTIONS.
    """
    groups = {field.partition(".")[0] for field in fields}
    if "segment" in groups:
        return PREDICTIONS
    return PSEUDO_LABELS if "refine" in groups else SEED


def pareto_front(
    trials: Sequence[Trial], names: Sequence[str]
) -> list[tuple[Trial, dict[str, float]]]:
    """Return the points that no other point beats, with the mean of each objective.

    A point beats another one that it is no worse than in any objective, and better in one. Points
    stand for their first trial, by the first objective, best first.

    Args:
        trials: the trials of a sweep; those by which no point counts are left out.
        names: names of the objectives.
    """
    points = []
    for group in trials_by_point(trials).values():
        means = {n: m for n, m in mean_objectives(group, names).items() if m is not None}
        if len(means) == len(names):
            points.append((group[0], means))
    costs = [[-m[n] if OBJECTIVES[n].more else m[n] for n in names] for _, m in points]
    front = [
        (cost, point)
        for cost, point in zip(costs, points, strict=True)
        if not any(_beats(other, cost) for other in costs)
    ]
    return [point for _, point in sorted(front, key=lambda pair: pair[0])]


def _beats(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether costs are nowhere higher than other costs, and lower in one objective."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and [*first] != [*second]
