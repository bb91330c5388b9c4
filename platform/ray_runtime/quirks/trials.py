"""Work-arounds for Ray Tune: processes of trials that start together, and rungs after a resume."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from platform import node
from types import SimpleNamespace
from typing import Any


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


def replay_rungs(scheduler: Any, rungs: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Tell an ASHA scheduler the results of trials that ended before it was made.

    Args:
        scheduler: an `ASHAScheduler` with the time attribute `epoch` and the metric `value`.
        rungs: pairs (epochs, value) of each trial, by the trial's id.
    """
    for trial_id, results in rungs.items():
        stub = SimpleNamespace(trial_id=f"before-{trial_id}")
        scheduler.on_trial_add(None, stub)
        for epochs, value in results:
            scheduler.on_trial_result(None, stub, {"epoch": epochs, "value": value})
