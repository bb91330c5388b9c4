"""Chain of stages that a cluster computes within a minute, and the files that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from disturbed import DATA, SABOTEUR, Fault, Job
from limits import wait_until
from wsss.platform.stages.training import checkpoints

__all__ = [
    "CHAIN",
    "DATA",
    "SABOTEUR",
    "SMALL",
    "Fault",
    "Job",
    "files_of",
    "wait_for_the_first_epoch",
]

SMALL = tuple(
    word
    for value in (
        "training.epochs=2",
        "training.batch_size=8",
        "training.precision=fp32",
        "views.scales=(1.0,)",
    )
    for word in ("--set", value)
)
"""Options with which a network trains in seconds, on a GPU (also a pretended one) as on a CPU."""
CHAIN = ("run", "cam", "--name", "chain", "--quiet", *SMALL)
"""Two epochs of three steps, class maps, seed masks and their scores."""


def wait_for_the_first_epoch(store: Path) -> None:
    """Wait until Ray Train has recorded a checkpoint of the only training of a store.

    A worker with a checkpoint is asked for it within half a second; a host that is lost before that
    takes its report with it.
    """
    pattern = f"training/*/{checkpoints.SNAPSHOT}"
    wait_until(lambda: any(store.glob(pattern)), "the first epoch is recorded")


def files_of(store: Path) -> dict[str, dict[str, Any]]:
    """Return the SHA-256 of each file of a store's artifacts, by stage, key and file name."""
    return Job(store, Path()).result()
