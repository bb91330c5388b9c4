"""Which points of a space a sweep tries: all, some drawn at random, or those that TPE chooses."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from .errors import InputError
from .runs import as_json
from .spaces import Space

SEARCHES = ("grid", "random", "tpe")
Params = dict[str, Any]


class Search(Protocol):
    """Where the points of a sweep come from."""

    def ask(self, number: int, told: Mapping[int, float | None]) -> Params | None:
        """Point number `number`, or None while it depends on points that are not told yet.

        It follows from the space, the seed and what is told of earlier points alone, so that a
        sweep that was broken off goes on as it would have.

        Args:
            number: from 0 on.
            told: the objective by number of each point that has ended; None of a failed one.
        """

    def recall(self, number: int, point: Params) -> None:
        """Takes note that point number `number` was this one."""


def size(space: Space) -> int:
    """Points of the grid."""
    return math.prod(len(values) for values in space.values())


def grid(space: Space) -> Iterator[Params]:
    """All points, the last field changing fastest."""
    return (point(space, number) for number in range(size(space)))


def point(space: Space, number: int) -> Params:
    """Point number `number` of the grid."""
    out: Params = {}
    for field, values in reversed(list(space.items())):
        number, k = divmod(number, len(values))
        out[field] = values[k]
    return {field: out[field] for field in space}


def drawn(space: Space, count: int, seed: int) -> list[Params]:
    """Different points of the grid at random, in the grid's order; all for a count of 0."""
    if not count or count >= size(space):
        return list(grid(space))
    return [
        point(space, number)
        for number in sorted(random.Random(seed).sample(range(size(space)), count))
    ]


class Fixed:
    """Points that are known beforehand."""

    def __init__(self, points: Sequence[Params]) -> None:
        self.points = points

    def ask(self, number: int, told: Mapping[int, float | None]) -> Params | None:
        return self.points[number]

    def recall(self, number: int, point: Params) -> None:
        """Nothing depends on it."""


class TPE:
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011), by Optuna.

    Points are asked for in generations: each knows all earlier generations, and none of its own,
    so that the choice does not depend on which trial happens to end first. The first ten are
    drawn at random.

    Args:
        space: values by field; those of numbers enter by their place, others as categories.
        seed: of every draw.
        width: points of a generation, those that run side by side.
    """

    def __init__(self, space: Space, seed: int, width: int) -> None:
        self.space, self.seed, self.width = space, seed, width
        self.asked: dict[int, dict[str, Any]] = {}

    def ask(self, number: int, told: Mapping[int, float | None]) -> Params | None:
        begun = number // self.width * self.width
        if any(k not in told for k in range(begun)):
            return None
        return {f: self.space[f][rank] for f, rank in self._ranks(number, told).items()}

    def recall(self, number: int, point: Params) -> None:
        listed = {field: as_json(list(values)) for field, values in self.space.items()}
        self.asked[number] = {f: listed[f].index(as_json(point[f])) for f in self.space}

    def _ranks(self, number: int, told: Mapping[int, float | None]) -> dict[str, int]:
        """The point as places in the lists of the space."""
        if number in self.asked:
            return self.asked[number]
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=(self.seed * 10007 + number) % 2**32)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        axes = {field: self._axis(field) for field in self.space}
        for k in range(number // self.width * self.width):
            value = told[k]
            state = optuna.trial.TrialState
            study.add_trial(
                optuna.trial.create_trial(
                    state=state.FAIL if value is None else state.COMPLETE,
                    params=self._ranks(k, told),
                    distributions=axes,
                    value=value,
                )
            )
        self.asked[number] = study.ask(axes).params
        return self.asked[number]

    def _axis(self, field: str) -> Any:
        import optuna

        values = self.space[field]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            return optuna.distributions.IntDistribution(0, len(values) - 1)
        return optuna.distributions.CategoricalDistribution(range(len(values)))


def search(kind: str, space: Space, count: int, seed: int, width: int) -> Search:
    """The search called `kind`: one of SEARCHES, or without a name the grid, or with fewer
    points than it has, random.

    Raises:
        InputError: there is none of that name, or it does not go with the count.
    """
    if kind not in ("", *SEARCHES):
        raise InputError(f"unknown search {kind!r}; there are {', '.join(SEARCHES)}")
    points = size(space)
    if points > sys.maxsize:
        raise InputError(f"the space has {points} points; leave fields out")
    if kind == "grid" and count and count < points:
        raise InputError(f"--search grid tries all {points} points; leave out --trials {count}")
    if kind in ("random", "tpe") and not count:
        raise InputError(f"--search {kind} needs to know how many --trials; all are {points}")
    return TPE(space, seed, width) if kind == "tpe" else Fixed(drawn(space, count, seed))
