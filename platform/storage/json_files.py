"""Read and write dataclasses and other values as JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..serialization import as_json, from_json, typed
from . import filesystem


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; a reader sees the old file or the new one, never half of it."""
    text = json.dumps(as_json(value), indent=1, sort_keys=True) + "\n"
    filesystem.write(path, text.encode())


def record_from_json(row: Any, kind: Any, where: object) -> Any:
    """Return an instance of a type from its JSON form.

    Args:
        row: JSON value.
        kind: a dataclass, or another type that `serialization.typed` takes.
        where: the file of the record, for the error message.

    Raises:
        InputError: the value is not of that type.
    """
    try:
        return typed(kind, row, nan=True)
    except ValueError as error:
        raise InputError(f"{where} cannot be read by this version: {error}") from error


def read_record(path: Path, kind: Any) -> Any:
    """Return the instance of a type that `write_json` left in a file.

    Args:
        path: the file.
        kind: a dataclass, or another type that `serialization.typed` takes.

    Raises:
        InputError: there is no such file, or it does not hold that type.
    """
    try:
        return record_from_json(read_json(path), kind, filesystem.address(path))
    except FileNotFoundError as error:
        raise InputError(f"there is no {filesystem.address(path)}") from error


def read_json(path: Path) -> Any:
    """Return the JSON value in a file.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is not valid JSON, or not a regular file.
        StorageError: the file cannot be read.
    """
    try:
        return from_json(filesystem.read(path))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{filesystem.address(path)} cannot be read: {error}") from error
