"""Read and write dataclasses and other values as JSON files."""

from __future__ import annotations

import json
from typing import Any, Protocol

from ..errors import InputError
from ..serialization import as_json, from_json, typed
from .storage import Location


class Readable(Protocol):
    """A file of a storage or of an artifact; as text it is its address."""

    def read(self) -> bytes:
        """Return the content; raises FileNotFoundError where there is no file."""


def write_json(location: Location, value: Any) -> None:
    """Write a value as JSON; a reader sees the old file or the new one, never half of it."""
    text = json.dumps(as_json(value), indent=1, sort_keys=True) + "\n"
    location.write(text.encode())


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


def read_record(file: Readable, kind: Any) -> Any:
    """Return the instance of a type that `write_json` left in a file.

    Args:
        file: the file.
        kind: a dataclass, or another type that `serialization.typed` takes.

    Raises:
        InputError: there is no such file, or it does not hold that type.
    """
    try:
        return record_from_json(read_json(file), kind, file)
    except FileNotFoundError as error:
        raise InputError(f"there is no {file}") from error


def read_json(file: Readable) -> Any:
    """Return the JSON value in a file.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is not valid JSON, or not a regular file.
        StorageError: the file cannot be read.
    """
    return json_value(file.read(), file)


def json_value(data: bytes, where: object) -> Any:
    """Return the JSON value of a file's content.

    Args:
        data: the content.
        where: the file, for the error message.

    Raises:
        InputError: the content is not valid JSON.
    """
    try:
        return from_json(data)
    except ValueError as error:
        raise InputError(f"{where} cannot be read: {error}") from error
