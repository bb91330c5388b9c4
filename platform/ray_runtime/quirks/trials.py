"""Work-arounds for Ray Tune: processes that start together, brackets, and rungs after a resume."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import node
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class EndedTrial:
    """A trial that ended before its scheduler was made, as schedulers of Tune see it."""

    trial_id: str
    config: Mapping[str, Any]


def wait_for_processes(folder: Path, count: int, patience: float = 30.0) -> None:
    """Wait, in the process of a trial, until enough processes of trials have started.

    Args:
        folder: folder in which each process leaves a file.
        count: number of processes to wait for.
        patience: seconds after which the process goes on alone.
    """
    mark, end = folder / f"{node()}-{os.getpid()}", time.monotonic() + patience
    if mark.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)  # another node may not share this folder
    mark.touch()
    while len(os.listdir(folder)) < count and time.monotonic() < end:
        time.sleep(0.05)


def seeded(scheduler: Any, seed: int) -> Any:
    """Let a scheduler of Tune draw the bracket of each trial by the trial's number.

    Args:
        scheduler: a scheduler that draws from NumPy's random numbers when it is given a trial.
        seed: random seed.

    Returns:
        The scheduler.
    """
    add = scheduler.on_trial_add

    def on_trial_add(controller: object, trial: Any) -> None:
        state = np.random.get_state()
        np.random.seed([seed, trial.config["number"]])
        try:
            add(controller, trial)
        finally:
            np.random.set_state(state)

    scheduler.on_trial_add = on_trial_add
    return scheduler


def by_rungs_alone(scheduler: Any) -> Any:
    """Keep the last result of a trial, which belongs to no rung, from a scheduler of Tune.

    Args:
        scheduler: a `MedianStoppingRule`, which expects the time attribute in every result.

    Returns:
        The scheduler.
    """
    scheduler.on_trial_complete = lambda controller, trial, result: None
    return scheduler


def replay_rungs(scheduler: Any, rungs: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Tell a scheduler of Tune the results of trials that ended before it was made.

    Args:
        scheduler: a scheduler with the time attribute `epoch` and the metric `value`, which stops
            trials and never pauses them.
        rungs: pairs (epochs, value) of each trial, by the trial's id, a number.
    """
    for trial_id, results in rungs.items():
        ended = EndedTrial(f"before-{trial_id}", {"number": int(trial_id)})
        scheduler.on_trial_add(None, ended)
        for epochs, value in results:
            scheduler.on_trial_result(None, ended, {"epoch": epochs, "value": value})
