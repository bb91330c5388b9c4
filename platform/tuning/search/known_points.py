"""Points that are known before a sweep starts: of the grid, drawn at random, or of Sobol."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from ..spaces.domains import Groups, Space, axes, continuous_field, has_functions
from ..spaces.points import Params, choose, grid, point, point_count
from .searcher import Values


class FixedPoints:
    """A searcher over points that are known beforehand."""

    def __init__(self, points: Sequence[Params]) -> None:
        self.points = points

    def suggest(self, number: int, values_by_point: Mapping[int, Values | None]) -> Params | None:
        return self.points[number]

    def recall(self, number: int, point: Params) -> None:
        """Do nothing: no point depends on an earlier point."""


def draw_points(space: Space, count: int, seed: int, shuffled: bool = False) -> list[Params]:
    """Draw points at random.

    Points of a space without continuous fields differ; a count of 0, or one that is not below the
    size of the grid, gives all points. Where functions compute values, a count above the size of
    the grid gives points of the grid several times, as a function may draw another value each time.

    Args:
        space: the search space.
        count: number of points.
        seed: random seed.
        shuffled: whether points of a space without continuous fields are listed at random, for a
            sweep that may end before the last one, rather than in the grid's order.
    """
    if continuous_field(space):
        draws = (random.Random(f"{seed}-{number}") for number in range(count))
        return [
            point_at(space, {name: draw.random() for name, _ in axes(space)}, f"{seed}-{number}")
            for number, draw in enumerate(draws)
        ]
    size = point_count(space)
    if has_functions(space) and count > size:
        size *= math.ceil(count / size)
    elif not shuffled and (not count or count >= size):
        return list(grid(space, seed))
    numbers = random.Random(seed).sample(range(size), min(count or size, size))
    return [point(space, number, seed) for number in (numbers if shuffled else sorted(numbers))]


def sobol_points(space: Space, count: int, seed: int) -> list[Params]:
    """Return the first points of a scrambled Sobol sequence, which fill a space evenly.

    Source: Sobol, USSR Computational Mathematics 7(4), 1967; scrambled as in Owen, Journal of
    Complexity 14(4), 1998, by SciPy.
    """
    import warnings

    from scipy.stats import qmc

    names = [name for name, _ in axes(space)]
    with warnings.catch_warnings():  # the sequence is balanced at powers of two only
        warnings.simplefilter("ignore", UserWarning)
        rows = qmc.Sobol(len(names), scramble=True, seed=seed).random(count)
    return [
        point_at(space, dict(zip(names, map(float, row), strict=True)), f"{seed}-{number}")
        for number, row in enumerate(rows)
    ]


def point_at(space: Space, share_by_axis: Mapping[str, float], seed: str) -> Params:
    """Return the point at a share of each axis, 0 to below 1."""

    def pick(name: str, field: str, domain: object) -> object:
        share = share_by_axis[name]
        if isinstance(domain, Groups):
            return int(share * len(domain.groups))
        return domain.at_share(share)  # type: ignore[attr-defined]

    return choose(space, pick, seed)
