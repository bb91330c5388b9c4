"""Conversion between JSON values and typed Python values, with checks.

JSON and the command line give numbers, texts, lists and dicts; `typed` makes them into the types
that a field or record declares. An int is accepted for a float, a list for a tuple, a dict for a
dataclass.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEEPEST = 100
"""Most levels of lists and objects inside each other that `from_json` accepts."""
LARGEST = 1 << 64
"""Largest magnitude of an integer that `from_json` accepts."""


Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value that JSON can hold."""
T = TypeVar("T")


@typing.runtime_checkable
class Parsable(Protocol):
    """A class that makes an instance of itself from text."""

    def parse(self, text: str) -> object: ...


class MisfitError(ValueError):
    """A value that does not fit its declared type; the message names the value."""


def from_json(text: bytes | str, nan: bool = False) -> Json:
    """Return the value of a JSON text.

    Args:
        text: JSON, in UTF-8.
        nan: whether a number may be infinite or not a number.

    Raises:
        ValueError: the text is not JSON, is nested deeper than DEEPEST, or holds a number that no
            record can have; the message says which.
    """
    try:
        value: Json = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    rest: list[tuple[Json, int]] = [(value, 1)]
    while rest:
        part, depth = rest.pop()
        if isinstance(part, dict | list):
            if depth > DEEPEST:
                raise ValueError(f"it is nested deeper than {DEEPEST} levels")
            members = part.values() if isinstance(part, dict) else part
            rest += ((member, depth + 1) for member in members)
        elif isinstance(part, float) and not nan and not math.isfinite(part):
            raise ValueError(f"it holds the number {part}")
        elif isinstance(part, int) and abs(part) > LARGEST:
            raise ValueError("it holds an integer of more than 64 bits")
    return value


def parse_time(text: str) -> datetime:
    """Return the time that a record names, in UTC.

    Times are compared as instants, never as text: another offset (daylight saving, another
    machine) would put texts in another order.

    Args:
        text: time in ISO format with its offset from UTC.

    Raises:
        ValueError: the text is not a time, or has no offset.
    """
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            raise ValueError("it has no offset")
        return when.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time with its offset from UTC: {error}") from None


def quoted(value: object) -> str:
    """Return a value as an error message quotes it; a long text is cut."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of over 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


@typing.overload
def typed(hint: type[T], value: object, where: str = "it", nan: bool = False) -> T: ...


@typing.overload
def typed(hint: object, value: object, where: str = "it", nan: bool = False) -> Any: ...


def typed(hint: object, value: object, where: str = "it", nan: bool = False) -> object:
    """Return a JSON value as an instance of a type.

    Args:
        hint: a built-in type, a dataclass, a class with a `parse` method, or a union, tuple, list
            or mapping of these.
        value: JSON value.
        where: name of the value in the error message.
        nan: whether None stands for a float that is not a number, as `as_json` writes it.

    Raises:
        MisfitError: the value is not of that type and cannot be converted to it.
    """
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(members, value, where, nan)
    if origin is tuple and isinstance(value, list | tuple):
        if members[-1] is Ellipsis:
            members = (members[0],) * len(value)
        if len(members) == len(value):
            pairs = enumerate(zip(members, value, strict=True))
            return tuple(typed(m, v, f"{where}[{k}]", nan) for k, (m, v) in pairs)
    elif origin is list and isinstance(value, list):
        return [typed(members[0], v, f"{where}[{k}]", nan) for k, v in enumerate(value)]
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {
            typed(members[0], k, f"a key of {where}"): typed(members[1], v, f"{where}.{k}", nan)
            for k, v in value.items()
        }
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _dataclass(hint, value, where, nan)
    elif isinstance(value, str) and hint is not str and isinstance(hint, Parsable):
        return _parsed(hint, value, where)
    elif isinstance(hint, type) and origin is None:
        return _single(hint, value, where, nan)
    raise MisfitError(f"{where} is {quoted(value)}")


def _single(hint: type, value: object, where: str, nan: bool) -> object:
    if hint is float and value is None and nan:
        return float("nan")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise MisfitError(f"{where} is too large") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise MisfitError(f"{where} is {quoted(value)}")
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise MisfitError(f"{where} is {quoted(value)}, which is not valid Unicode")
    return value


def _parsed(hint: Parsable, text: str, where: str) -> object:
    """Return the instance that a class parses from text."""
    try:
        return hint.parse(text)
    except ValueError as error:
        raise MisfitError(f"{where}: {error}") from error


def _union(members: tuple[object, ...], value: object, where: str, nan: bool) -> object:
    if value is None and type(None) in members:
        return None
    for member in members:
        try:
            return typed(member, value, where, nan)
        except MisfitError as error:
            last = error
    raise last


def _dataclass(
    cls: type[DataclassInstance], row: Mapping[str, object], where: str, nan: bool
) -> object:
    hints, fields = types_of(cls), {f.name: f for f in dataclasses.fields(cls)}
    strange = [k for k in row if k not in fields]
    needed = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [
        k for k, f in fields.items() if k not in row and (f.default, f.default_factory) == needed
    ]
    for names, fault in ((strange, "has the unknown field"), (missing, "lacks the field")):
        if names:
            raise MisfitError(f"{where} {fault} {names[0]!r}")
    return cls(**{k: typed(hints[k], v, f"{where}.{k}", nan) for k, v in row.items()})


@cache
def types_of(cls: type) -> dict[str, object]:
    """Return the types of a class's fields, by name."""
    return typing.get_type_hints(cls)


UNCHANGED = (str, int, bool, type(None))
"""Types whose values `as_json` returns as they are; most values have one of them."""


def as_json(value: object) -> Any:
    """Return a value as JSON can hold it: dataclasses as dicts, tuples as lists, NaN as null."""
    if type(value) in UNCHANGED:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def digest(value: object) -> str:
    """Return the SHA-256 of a value in canonical JSON, in hexadecimal."""
    text = json.dumps(as_json(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
