"""What a training keeps of itself after each epoch, so that it can go on after any end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError, StorageError
from ...models import weights
from ...storage import filesystem
from ...storage.filesystem import file_digest

STATE, SUM = "state.pt", "state.sha256"
SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's record of the checkpoints in a folder."""


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Writes a checkpoint, and what it must hash to, into an empty folder."""
    torch.save(state, folder / STATE)
    (folder / SUM).write_text(file_digest(folder / STATE))


def load(folder: Path) -> Any:
    """The state in the folder of a checkpoint.

    Raises:
        InputError: it is damaged.
    """
    if not (folder / SUM).is_file() or file_digest(folder / STATE) != (folder / SUM).read_text():
        raise InputError("a training's checkpoint does not match its SHA-256")
    return weights.saved(folder / STATE)


def fault(home: Path) -> str:
    """What is wrong with the checkpoint that a training in `home` would go on from; nothing where
    it is whole or where there is none."""
    try:
        last = json.loads(filesystem.read(home / SNAPSHOT))["latest_checkpoint_result"]
        if last is None:
            return ""
        folder = home / str(last["checkpoint_dir_name"])
    except FileNotFoundError:
        return ""
    except StorageError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its record of checkpoints is damaged"
    for name in (STATE, SUM):
        if not filesystem.exists(folder / name):
            return f"its checkpoint lacks {name}"
    wanted = filesystem.read(folder / SUM).decode(errors="replace")
    whole = hashlib.sha256(filesystem.read(folder / STATE)).hexdigest() == wanted
    return "" if whole else "its checkpoint does not match its SHA-256"


def forget(home: Path) -> None:
    """Removes the checkpoints and the metrics of a training."""
    filesystem.remove_tree(home)
    metrics = home.with_suffix(".jsonl")
    filesystem.remove(metrics)
    metrics.unlink(missing_ok=True)  # this machine's, of one in an object store
