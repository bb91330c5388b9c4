"""Searchers, which choose the points of a search space that a sweep tries, and their order."""

from .kinds import DEFAULT_POINTS, check_search, chooses_as_results_come, make_searcher, trial_count
from .known_points import FixedPoints
from .searcher import Searcher, Values

__all__ = [
    "DEFAULT_POINTS",
    "FixedPoints",
    "Searcher",
    "Values",
    "check_search",
    "chooses_as_results_come",
    "make_searcher",
    "trial_count",
]
