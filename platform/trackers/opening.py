"""The trackers that a command names."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .mlflow_tracker import MLflowTracker
from .tensorboard_tracker import TensorBoardTracker
from .tracker import Tracker
from .wandb_tracker import WandbTracker

KINDS: tuple[type[Tracker], ...] = (TensorBoardTracker, MLflowTracker, WandbTracker)


def make_trackers(names: Sequence[str], folder: Path) -> list[Tracker]:
    """Return a new tracker for each name, each name once.

    Args:
        names: names of trackers.
        folder: folder for files of this machine.

    Raises:
        InputError: a name is unknown, or a package is not installed.
    """
    kinds = {kind.kind: kind for kind in KINDS}
    for name in names:
        if name not in kinds:
            raise InputError(
                f"--log or WSSS_LOG names {name!r}; the trackers are {', '.join(kinds)}"
            )
        if not importlib.util.find_spec(kinds[name].package):
            raise InputError(
                f"--log {name} needs a package that is not installed; run pip install {name}"
            )
    return [kinds[name](folder) for name in dict.fromkeys(names)]


def check_trackers(names: Sequence[str], folder: Path) -> None:
    """Check, before anything is computed, that trackers can keep runs; see `make_trackers`.

    Raises:
        InputError: as for `make_trackers`, or a tracker cannot be reached.
    """
    for tracker in make_trackers(names, folder):
        tracker.check()
