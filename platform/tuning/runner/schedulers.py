"""Schedulers, which stop trainings early."""

from __future__ import annotations

from collections.abc import Sequence

from ...ray_runtime.quirks.trials import replay_rungs
from ...records.schema import Trial
from ..sweep import REDUCTION, Sweep


def make_scheduler(sweep: Sweep, done: Sequence[Trial]) -> object:
    """Return the scheduler of a sweep, or None for a sweep without one.

    ASHA also gets the rungs of the trials that ended before the sweep was interrupted.
    """
    if not sweep.scheduler:
        return None
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=sweep.base.training.epochs,
        grace_period=sweep.rungs[0] if sweep.rungs else sweep.base.training.epochs,
        reduction_factor=REDUCTION,
    )
    replay_rungs(scheduler, {trial.id: trial.rungs for trial in done})
    return scheduler
