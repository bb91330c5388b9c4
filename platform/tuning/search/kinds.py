"""Searches by name."""

from __future__ import annotations

import importlib.util
import sys
from typing import get_args

from ...config.limits import SearchName
from ...errors import InputError
from ..spaces.domains import Listed, Numbers, Space, continuous_field, has_functions
from ..spaces.points import point_count
from .cost_aware_points import CostAwarePoints
from .known_points import FixedPoints, draw_points, sobol_points
from .marginal_costs import MarginalCosts
from .optuna_points import SAMPLERS, OptunaPoints
from .searcher import Searcher

SEARCHES = get_args(SearchName)
DEFAULT_POINTS = 20
"""Number of points of a space with continuous fields where the sweep names no search or number."""
BUDGET_POINTS = 1_000
"""Most points of a sweep with a budget that names no number, unless it tries a whole grid; of a
space without continuous fields no more than its size."""
COST_AWARE = "eipu"
"""Name of the search by expected improvement per unit of cost."""
ONE_OBJECTIVE = ("cmaes", COST_AWARE)
"""Searches that take a single objective."""


def chooses_as_results_come(kind: str) -> bool:
    """Return whether a search chooses points by the values of earlier points."""
    return kind in SAMPLERS or kind == COST_AWARE


def trial_count(kind: str, space: Space, count: int) -> int:
    """Return the number of points that a search tries; it may try a point twice.

    Args:
        kind: name of the search; empty: the grid, or random points.
        space: the search space.
        count: number of points; 0: the whole grid, or DEFAULT_POINTS of a continuous space. With
            `random` and functions it may exceed the grid.
    """
    if kind == "sobol" or chooses_as_results_come(kind):
        return count
    if continuous_field(space):
        return count or DEFAULT_POINTS
    if count and kind == "random" and has_functions(space):
        return count
    return min(count, point_count(space)) if count else point_count(space)


def check_search(kind: str, space: Space, count: int) -> None:
    """Check that there is a search called `kind` that can try `count` points of a space.

    Raises:
        InputError: there is no search of that name, the search cannot try that many points, or it
            cannot search this space.
    """
    if kind not in ("", *SEARCHES):
        raise InputError(f"unknown search {kind!r}; there are {', '.join(SEARCHES)}")
    continuous = continuous_field(space)
    if continuous and kind == "grid":
        raise InputError(
            f"--search grid cannot try every value of {continuous!r}; list its values, e.g. by "
            "grid_search, or choose another --search"
        )
    points = 0 if continuous else point_count(space)
    if points > sys.maxsize:
        raise InputError(f"the space has {points} points; leave fields out")
    if kind == "grid" and count and count < points:
        raise InputError(f"--search grid tries all {points} points; leave out --trials {count}")
    if kind not in ("", "grid") and not count:
        size = f"is continuous in {continuous!r}" if continuous else f"has {points} points"
        raise InputError(
            f"--search {kind} needs a number of --trials or a --budget; the space {size}"
        )
    if kind == "cmaes":
        _check_cmaes(space)


def _check_cmaes(space: Space) -> None:
    """Check that CMA-ES can search a space, and that its package is installed."""
    numbers = [
        field
        for field, domain in space.items()
        if isinstance(domain, Numbers) or (isinstance(domain, Listed) and domain.ranked)
    ]
    if len(numbers) < 2:
        raise InputError(
            "--search cmaes needs two fields that are numbers and outside of groups; choose "
            "another --search"
        )
    if not importlib.util.find_spec("cmaes"):
        raise InputError("--search cmaes needs the package cmaes; run pip install cmaes")


def most_points(kind: str, space: Space, count: int, budget: str) -> int:
    """Return the number of points that a sweep gives to its search.

    Args:
        kind: name of the search; empty: the grid, or random points.
        space: the search space.
        count: number of points that the sweep names; 0 for none.
        budget: budget of the sweep; empty for none.
    """
    continuous = continuous_field(space)
    if count or not budget or (kind in ("", "grid") and not continuous):
        return count
    return BUDGET_POINTS if continuous else min(BUDGET_POINTS, point_count(space))


def make_searcher(
    kind: str,
    space: Space,
    count: int,
    seed: int,
    width: int,
    maximized: tuple[bool, ...] = (True,),
    costs: MarginalCosts | None = None,
    shuffled: bool = False,
) -> Searcher:
    """Return a new searcher; `check_search` must have accepted its kind.

    Args:
        kind: name of the search, one of SEARCHES; without a name the grid, or random points where
            the count is below the size of the grid or the space is continuous.
        space: the search space.
        count: number of points to try; 0 for all points.
        seed: random seed of every draw.
        width: number of points that run at the same time.
        maximized: for each objective, whether more is better.
        costs: marginal costs of points, which the search `eipu` needs.
        shuffled: whether points are listed at random, as `draw_points` does.
    """
    if kind == COST_AWARE:
        assert costs is not None
        return CostAwarePoints(space, seed, width, count, costs, maximized[0])
    if chooses_as_results_come(kind):
        return OptunaPoints(kind, space, seed, width, count, maximized)
    if kind == "sobol":
        return FixedPoints(sobol_points(space, count, seed))
    points = trial_count(kind, space, count)
    return FixedPoints(draw_points(space, points, seed, shuffled))
