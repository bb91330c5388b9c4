"""Searchers, which choose the points of a search space that a sweep tries, and their order."""

from .kinds import (
    COST_AWARE,
    DEFAULT_POINTS,
    ONE_OBJECTIVE,
    check_search,
    chooses_as_results_come,
    make_searcher,
    most_points,
    trial_count,
)
from .known_points import FixedPoints
from .marginal_costs import MarginalCosts, Need
from .searcher import Searcher, Values

__all__ = [
    "COST_AWARE",
    "DEFAULT_POINTS",
    "ONE_OBJECTIVE",
    "FixedPoints",
    "MarginalCosts",
    "Need",
    "Searcher",
    "Values",
    "check_search",
    "chooses_as_results_come",
    "make_searcher",
    "most_points",
    "trial_count",
]
