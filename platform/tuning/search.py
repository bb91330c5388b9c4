"""Searchers, which choose the points of a search space that a sweep tries, and their order.

A sweep tries all points, points drawn at random, or points that TPE chooses.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import InputError
from ..serialization import as_json
from .spaces import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SEARCHES = ("grid", "random", "tpe")
Params = dict[str, object]


class Searcher(Protocol):
    """A source of the points of one sweep, which remembers earlier points."""

    def suggest(self, number: int, value_by_point: Mapping[int, float | None]) -> Params | None:
        """Return point number `number`, or None while it depends on points that have not ended.

        The point follows from the space, the random seed and the values of earlier points alone,
        so that an interrupted sweep continues as if it had not been interrupted.

        Args:
            number: number of the point, from 0 on.
            value_by_point: objective of each point that has ended, by the point's number; None
                for a point that failed.
        """

    def recall(self, number: int, point: Params) -> None:
        """Take note that a point had this number before the sweep was interrupted."""


def point_count(space: Space) -> int:
    """Return the number of points of the grid."""
    return math.prod(len(values) for values in space.values())


def grid(space: Space) -> Iterator[Params]:
    """Iterate over all points of the grid; the last field changes fastest."""
    return (point(space, number) for number in range(point_count(space)))


def point(space: Space, number: int) -> Params:
    """Return point number `number` of the grid."""
    out: Params = {}
    for field, values in reversed(list(space.items())):
        number, k = divmod(number, len(values))
        out[field] = values[k]
    return {field: out[field] for field in space}


def draw_points(space: Space, count: int, seed: int) -> list[Params]:
    """Draw different points of the grid at random, listed in the grid's order.

    A count of 0, or one that is not below the size of the grid, gives all points.
    """
    if not count or count >= point_count(space):
        return list(grid(space))
    return [
        point(space, number)
        for number in sorted(random.Random(seed).sample(range(point_count(space)), count))
    ]


class FixedPoints:
    """A searcher over points that are known beforehand."""

    def __init__(self, points: Sequence[Params]) -> None:
        self.points = points

    def suggest(self, number: int, value_by_point: Mapping[int, float | None]) -> Params | None:
        return self.points[number]

    def recall(self, number: int, point: Params) -> None:
        """Do nothing: no point depends on an earlier point."""


class TPE:
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011), by Optuna.

    Points are suggested in generations. A point depends on all earlier generations but not on its
    own, so that the choice does not depend on which trial happens to end first. The first ten
    points are drawn at random.

    Args:
        space: values by field; numbers enter by their rank, other values as categories.
        seed: random seed of every draw.
        width: number of points in a generation, which run at the same time.
    """

    def __init__(self, space: Space, seed: int, width: int) -> None:
        self.space, self.seed, self.width = space, seed, width
        self.ranks_by_point: dict[int, dict[str, int]] = {}

    def suggest(self, number: int, value_by_point: Mapping[int, float | None]) -> Params | None:
        generation_start = number // self.width * self.width
        if any(k not in value_by_point for k in range(generation_start)):
            return None
        ranks = self._ranks(number, value_by_point)
        return {field: self.space[field][rank] for field, rank in ranks.items()}

    def recall(self, number: int, point: Params) -> None:
        listed = {field: as_json(list(values)) for field, values in self.space.items()}
        ranks = {field: listed[field].index(as_json(point[field])) for field in self.space}
        self.ranks_by_point[number] = ranks

    def _ranks(self, number: int, value_by_point: Mapping[int, float | None]) -> dict[str, int]:
        """Return the ranks of the point's values in the lists of the space."""
        if number in self.ranks_by_point:
            return self.ranks_by_point[number]
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=(self.seed * 10007 + number) % 2**32)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        axes = {field: self._axis(field) for field in self.space}
        for k in range(number // self.width * self.width):
            value = value_by_point[k]
            state = optuna.trial.TrialState
            study.add_trial(
                optuna.trial.create_trial(
                    state=state.FAIL if value is None else state.COMPLETE,
                    params=self._ranks(k, value_by_point),
                    distributions=axes,
                    value=value,
                )
            )
        self.ranks_by_point[number] = study.ask(axes).params
        return self.ranks_by_point[number]

    def _axis(self, field: str) -> BaseDistribution:
        import optuna

        values = self.space[field]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            return optuna.distributions.IntDistribution(0, len(values) - 1)
        return optuna.distributions.CategoricalDistribution(range(len(values)))


def check_search(kind: str, space: Space, count: int) -> None:
    """Check that there is a search called `kind` that can try `count` points of a space.

    Raises:
        InputError: there is no search of that name, or the search cannot try that many points.
    """
    if kind not in ("", *SEARCHES):
        raise InputError(f"unknown search {kind!r}; there are {', '.join(SEARCHES)}")
    points = point_count(space)
    if points > sys.maxsize:
        raise InputError(f"the space has {points} points; leave fields out")
    if kind == "grid" and count and count < points:
        raise InputError(f"--search grid tries all {points} points; leave out --trials {count}")
    if kind in ("random", "tpe") and not count:
        raise InputError(
            f"--search {kind} needs a number of --trials; the space has {points} points"
        )


def make_searcher(kind: str, space: Space, count: int, seed: int, width: int) -> Searcher:
    """Return a new searcher; `check_search` must have accepted its kind.

    Args:
        kind: name of the search, one of SEARCHES; without a name the grid, or random points where
            the count is below the size of the grid.
        space: values by field.
        count: number of points to try; 0 for all points.
        seed: random seed of every draw.
        width: number of points that run at the same time.
    """
    return (
        TPE(space, seed, width) if kind == "tpe" else FixedPoints(draw_points(space, count, seed))
    )
