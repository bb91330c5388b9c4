"""Checkpoints of a training: one after each epoch, from which an interrupted training goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError, StorageError
from ...models import weights
from ...records.progress_file import METRICS
from ...storage.artifact_files import NAME, ArtifactFolder
from ...storage.filesystem import file_digest
from ...storage.storage import Location

STATE, SUM = "state.pt", "state.sha256"
SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Name of the file in which Ray Train records the checkpoints of a training."""


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Write a checkpoint and its SHA-256 to an empty folder.

    Raises:
        OSError: the disk is full; the error names the folder.
    """
    try:
        (folder / STATE).write_bytes(weights.torch_bytes(state))
        (folder / SUM).write_text(file_digest(folder / STATE))
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def load(folder: Path) -> Any:
    """Return the state in the folder of a checkpoint.

    Raises:
        InputError: the checkpoint is damaged.
    """
    if not (folder / SUM).is_file() or file_digest(folder / STATE) != (folder / SUM).read_text():
        raise InputError("a training's checkpoint does not match its SHA-256")
    return weights.read_torch_file(folder / STATE)


def load_from(folder: ArtifactFolder) -> Any:
    """Return the state in the folder of an artifact; errors are as for `load`."""
    (folder / SUM).local()
    return load((folder / STATE).local().parent)


def fault(home: Location) -> str:
    """Return the fault of the checkpoint from which a training would go on.

    Args:
        home: folder of the training.

    Returns:
        A clause such as "its checkpoint lacks state.pt"; an empty string where the checkpoint is
        intact or there is none.
    """
    try:
        latest = json.loads((home / SNAPSHOT).read())["latest_checkpoint_result"]
        if latest is None:
            return ""
        name = str(latest["checkpoint_dir_name"])
    except FileNotFoundError:
        return ""
    except StorageError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its record of checkpoints is damaged"
    if not NAME.fullmatch(name):
        return "its record of checkpoints is damaged"
    folder = home / name
    for file in (STATE, SUM):
        if not (folder / file).exists():
            return f"its checkpoint lacks {file}"
    digest = (folder / SUM).read().decode(errors="replace")
    intact = hashlib.sha256((folder / STATE).read()).hexdigest() == digest
    return "" if intact else "its checkpoint does not match its SHA-256"


def keep(home: Location, folder: ArtifactFolder) -> None:
    """Write the last checkpoint and the metrics of a training to the folder of an artifact."""
    latest = json.loads((home / SNAPSHOT).read())["latest_checkpoint_result"]
    for name in (STATE, SUM):
        (folder / name).write_bytes((home / latest["checkpoint_dir_name"] / name).read())
    (folder / METRICS).write_bytes(home.with_suffix(".jsonl").read())


def begin(start: ArtifactFolder, metrics: Location) -> None:
    """Take over the metrics of the checkpoint that a training begins from, unless it has some."""
    if not metrics.exists():
        metrics.write((start / METRICS).read())


def forget(home: Location) -> None:
    """Remove the checkpoints and the metrics of a training."""
    home.remove_tree()
    home.with_suffix(".jsonl").remove()
