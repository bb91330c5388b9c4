"""Schedulers, which stop trainings early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...ray_runtime.quirks.trials import by_rungs_alone, replay_rungs, seeded
from ...records.schema import Trial
from ..sweep import REDUCTION, Sweep

RUNG = {"time_attr": "epoch", "metric": "value", "mode": "max"}
"""Names of the entries of a trial's report that schedulers read."""


def make_scheduler(sweep: Sweep, done: Sequence[Trial]) -> object:
    """Return the scheduler of a sweep, or None for a sweep without one.

    It also gets the rungs of the trials that ended before the sweep was interrupted.

    Args:
        sweep: the sweep.
        done: the trials that ended.
    """
    if not sweep.scheduler:
        return None
    scheduler = MAKERS[sweep.scheduler](sweep)
    replay_rungs(scheduler, {trial.id: trial.rungs for trial in done})
    return scheduler


def _first_rung(sweep: Sweep) -> int:
    """Return the epochs after which trials are first compared."""
    return sweep.rungs[0] if sweep.rungs else sweep.base.training.epochs


def _asha(sweep: Sweep, brackets: int = 1) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(
        **RUNG,
        max_t=sweep.base.training.epochs,
        grace_period=_first_rung(sweep),
        reduction_factor=REDUCTION,
        brackets=brackets,
    )


def _hyperband(sweep: Sweep) -> Any:
    """Return asynchronous HyperBand: ASHA in brackets, of which each begins a rung later.

    The synchronous form pauses trials until all trials of a bracket are there, so more trials would
    have to wait than run at a time.
    """
    return seeded(_asha(sweep, max(1, len(sweep.rungs))), sweep.base.seed)


def _median(sweep: Sweep) -> Any:
    """Return the median stopping rule, which does not pause trials."""
    from ray.tune.schedulers import MedianStoppingRule

    rule = MedianStoppingRule(**RUNG, grace_period=_first_rung(sweep), min_time_slice=math.inf)
    return by_rungs_alone(rule)


MAKERS: Mapping[str, Callable[[Sweep], Any]] = {
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
}
"""A function that makes a scheduler of Tune, by the name of the scheduler.

Sources: ASHA, Li et al., MLSys 2020; HyperBand, Li et al., JMLR 18, 2018; the median stopping rule,
Golovin et al., KDD 2017.
"""
