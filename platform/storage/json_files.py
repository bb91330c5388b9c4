"""Dataclasses and plain values as JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..serialization import as_json, from_json, typed
from . import filesystem


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    text = json.dumps(as_json(value), indent=1, sort_keys=True) + "\n"
    filesystem.write(path, text.encode())


def record_from_json(row: Any, kind: Any, where: object) -> Any:
    """A dataclass, or another type of `serialization`, from its JSON form.

    Raises:
        InputError: it is something else.
    """
    try:
        return typed(kind, row, nan=True)
    except ValueError as error:
        raise InputError(f"{where} is not what this version can read: {error}") from error


def read_record(path: Path, kind: Any) -> Any:
    """What `write_json` left of a dataclass, or another type of `serialization`, in the file
    `path`.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        return record_from_json(read_json(path), kind, filesystem.address(path))
    except FileNotFoundError as error:
        raise InputError(f"there is no {filesystem.address(path)}") from error


def read_json(path: Path) -> Any:
    """The JSON in the file `path`.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is damaged.
        StorageError: it cannot be read.
    """
    try:
        return from_json(filesystem.read(path))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{filesystem.address(path)} cannot be read: {error}") from error
