"""Dataclass fields with a help text and a range, and classes of options made from them.

    @dataclass(frozen=True, kw_only=True)
    class Config(Options):
        tau: float = option(0.1, "Threshold of the class map.", low=0, high=1)

Values are checked whenever a configuration is made. Every option that is a number has a lowest and
a highest value, which do not enter the keys of stages.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..serialization import MisfitError, quoted, typed, types_of
from ..storage.filesystem import absolute, file_digest

T = TypeVar("T")
AUTO = "auto"
"""The value of a field whose choice is left to the machine that computes."""
MOST_ITEMS = 1_000
"""Largest number of values in an option that takes several."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "concurrent": (1, 1_024),
    "images": (0, 1_000_000),
    "port": (0, 65_535),
    "quarantine": (0, 1),
    "repeats": (1, 10_000),
    "retries": (0, 100),
    "seed": (0, 2**32 - 1),
    "seeds": (0, 2**32 - 1),
    "size": (32, 1_024),
    "train": (1, 99_999),
    "trials": (0, 100_000),
    "val": (1, 99_999),
}
"""The lowest and the highest value of each numeric option of the commands, by its name."""


def bounds(name: str) -> dict[str, Any]:
    """Return the bounds of a field that is also an option of a command, by its name in LIMITS."""
    low, high = LIMITS[name]
    return {"low": low, "high": high}


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    file: bool = False,
    some: bool = False,
    machine: bool = False,
) -> Any:
    """Return a dataclass field with a help text and its allowed values.

    Args:
        default: the value where none is given.
        help: a sentence that says what the option is, with unit and source.
        low: lowest value.
        high: highest value.
        choices: all allowed values.
        file: whether the option is a file, which is kept as an absolute path because workers run
            in other folders.
        some: whether an option that is a tuple must hold at least one value.
        machine: whether the option only fits the computation to the machine and changes no result,
            so that it enters no key.
    """
    about = {"help": help, "low": low, "high": high, "choices": choices, "file": file}
    return dataclasses.field(default=default, metadata={**about, "some": some, "machine": machine})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all classes of options, which checks the types and ranges of their values."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        _check_bounds(kind)
        hints = types_of(kind)
        for f in dataclasses.fields(self):
            if "help" in f.metadata:
                value = _checked(f, hints[f.name], getattr(self, f.name))
                if f.metadata["file"] and value is not None:
                    value = absolute(value, f.name)
                object.__setattr__(self, f.name, value)
            elif not isinstance(getattr(self, f.name), Options | Mapping | None):
                raise TypeError(f"{kind.__name__}.{f.name} is no option(), so no key would hold it")


@cache
def _check_bounds(kind: Any) -> None:
    """Raise TypeError where an option of a class is a number without bounds."""
    for f in dataclasses.fields(kind):
        about = f.metadata
        if "help" not in about or about["choices"] or not _numeric(types_of(kind)[f.name]):
            continue
        if about["low"] is None or about["high"] is None:
            raise TypeError(f"{kind.__name__}.{f.name} is a number and lacks low or high")


def _numeric(hint: Any) -> bool:
    """Return whether a type is a number, or is made of types of which one is a number."""
    return hint in (int, float) or any(_numeric(inner) for inner in typing.get_args(hint))


def _allowed(f: dataclasses.Field[Any]) -> str:
    if f.metadata["choices"]:
        return "one of " + ", ".join(map(repr, f.metadata["choices"]))
    return f"between {f.metadata['low']} and {f.metadata['high']}"


def _checked(f: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    if value is None and "none" in (f.metadata["choices"] or ()):
        value = "none"  # the command line reads the word as None
    try:
        value = typed(hint, value)
    except MisfitError:
        raise InputError(f"{f.name} is {quoted(value)}; it must be {_type_name(hint)}") from None
    if isinstance(value, tuple) and len(value) > MOST_ITEMS:
        raise InputError(f"{f.name} has {len(value)} values; it must have {MOST_ITEMS} at most")
    if value == () and f.metadata["some"]:
        raise InputError(f"{f.name} is empty; it must have at least one value")
    choices, low, high = f.metadata["choices"], f.metadata["low"], f.metadata["high"]
    for v in value if isinstance(value, tuple) else (value,):
        invalid = choices is not None and v not in choices
        if isinstance(v, int | float):
            invalid |= v != v or (low is not None and v < low) or (high is not None and v > high)
        if invalid:
            raise InputError(f"{f.name} is {quoted(value)}; it must be {_allowed(f)}")
    return value


def _type_name(hint: Any) -> str:
    return str(hint).replace("<class '", "").replace("'>", "")


def walk(config: Options, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield the dotted name, value and field of every option, nested options included.

    Options in a mapping are named by its keys: `settings={"lpcam": ...}` gives `lpcam.tau`.
    """
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        name = f"{prefix}{f.name}"
        if isinstance(value, Options):
            yield from walk(value, f"{name}.")
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                yield from walk(inner, f"{prefix}{key}.")
        elif "help" in f.metadata:
            yield name, value, f


def replaced(config: T, changes: Mapping[str, Any]) -> T:
    """Return the configuration with other values of some options.

    Args:
        config: the configuration, which stays as it is.
        changes: the new values by dotted name.

    Raises:
        InputError: a name is unknown (all valid names are listed), or a value is out of range.
    """
    assert isinstance(config, Options)
    valid = [name for name, _, _ in walk(config)]
    for name in changes:
        if name not in valid:
            raise InputError(f"unknown field {name!r}; there are {', '.join(valid)}")
    return typing.cast(T, _replaced(config, changes, ""))


def _replaced(config: Options, changes: Mapping[str, Any], prefix: str) -> Options:
    """Return the options with all changes whose names begin with the prefix."""
    if not any(name.startswith(prefix) for name in changes):
        return config
    values: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value, name = getattr(config, f.name), f"{prefix}{f.name}"
        if isinstance(value, Options):
            values[f.name] = _replaced(value, changes, f"{name}.")
        elif isinstance(value, Mapping):
            values[f.name] = {
                key: _replaced(inner, changes, f"{prefix}{key}.") for key, inner in value.items()
            }
        elif name in changes:
            values[f.name] = changes[name]
    try:
        return dataclasses.replace(config, **values)
    except InputError as error:
        raise InputError(f"{prefix}{error}") if prefix and values else error from None


def is_auto(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Return whether the value leaves the choice to the machine that computes."""
    return value == AUTO and AUTO in (field.metadata["choices"] or ())


def fingerprint(config: Options) -> dict[str, Any]:
    """Return the values, by dotted name, with which a configuration enters the key of a stage.

    A file enters by the hash of its content; an option with `machine` does not enter.
    A value `auto` must have been replaced before (`experiment.resolved`), because two machines may
    compute different results from it, which must not share a key.

    Raises:
        InputError: a file is missing.
    """
    out = {}
    for name, value, f in walk(config):
        if f.metadata["machine"]:
            continue
        assert not is_auto(value, f), f"{name} is {AUTO!r}, which may not enter a key"
        if f.metadata["file"] and value:
            if not Path(value).is_file():
                raise InputError(f"there is no weight file {value}")
            value = _content(value)
        out[name] = value
    return out


def _content(path: str) -> str:
    """Return the SHA-256 of a file, which is hashed again only after a change."""
    stat = Path(path).stat()
    return _hashed(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hashed(path: str, size: int, modified: int) -> str:
    return file_digest(Path(path))


def parse(text: str) -> Any:
    """Return the value of a text: a Python literal, `none`, `true`, `false`, or else the text."""
    import ast

    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
