"""The limits of options of commands: the bounds of numbers, and the names to choose from.

This module imports no library, so that `wsss --help` starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

SearchName = Literal["grid", "random", "sobol", "tpe", "gp", "cmaes", "nsga2", "eipu"]
"""The searches of `wsss sweep`."""
SchedulerName = Literal["asha", "hyperband", "median", "pbt"]
"""The schedulers of `wsss sweep`."""
ObjectiveName = Literal["miou", "precision", "recall", "parts", "seconds"]
"""The objectives of `wsss sweep`."""
LISTS = ("choice", "grid_search")
INTERVALS = ("uniform", "quniform", "loguniform", "qloguniform", "randint", "qrandint",
             "lograndint", "qlograndint")  # fmt: skip
"""Names of the functions of `ray.tune` that make intervals."""
COMPUTED = "sample_from"
"""Name of the function of `ray.tune` that makes a value from a function, which no file can hold."""
DISTRIBUTIONS = (*LISTS, *INTERVALS, COMPUTED)
"""The names of domains in a search space, with which the name of a field in a file may end."""
OBJECTIVES = (
    "Figures of a trial to improve together: miou, precision, recall, parts (share of objects' "
    "parts that do not discriminate) or seconds; the points that no point beats are listed."
)
BEST = (
    "Rule of the best point: an objective, or e.g. 'miou where recall >= 60 and seconds <= 30', "
    "with rates in percent; by default the first objective."
)
SCHEDULER = (
    "Trial scheduler, which stops trainings early that score less than others: asha, hyperband "
    "(asha in several brackets) or median (stopping by the median of earlier trainings); or pbt, "
    "with which the worst trainings take over the best ones and change their options."
)
BUDGET = (
    "New computation that the trials may take together, e.g. 2h, 30m, 90s or '40 stages'; --trials "
    "is then the largest number of points."
)

LIMITS: Mapping[str, tuple[float, float]] = {
    "concurrent": (1, 1_024),
    "images": (0, 1_000_000),
    "label-base": (0, 1),
    "port": (0, 65_535),
    "quarantine": (0, 1),
    "repeats": (1, 10_000),
    "retries": (0, 100),
    "seed": (0, 2**32 - 1),
    "seeds": (0, 2**32 - 1),
    "size": (32, 1_024),
    "train": (1, 99_999),
    "trials": (0, 100_000),
    "val": (1, 99_999),
}
"""The lowest and the highest value of each numeric option of the commands, by its name."""


def bounds(name: str) -> dict[str, Any]:
    """Return the bounds of a field that is also an option of a command, by its name in LIMITS."""
    low, high = LIMITS[name]
    return {"low": low, "high": high}
