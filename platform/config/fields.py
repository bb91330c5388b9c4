"""Configuration fields that know their meaning and their range.

    @dataclass(frozen=True, kw_only=True)
    class Config(Options):
        tau: float = option(0.1, "CAM threshold that splits features", low=0, high=1)

Values are checked when a config is made, from whatever side it is made. Every option that is a
number has a lowest and a highest value, which are no part of any key.
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
"""The value of a field that is chosen by the machine that computes."""
MOST_ITEMS = 1_000
"""Values of an option that takes several."""
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
"""The lowest and the highest value of the numbers that commands take, by their names."""


def bounds(name: str) -> dict[str, Any]:
    """The bounds of an option that a command takes too, by its name in LIMITS."""
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
    """Return a dataclass field with a help text (meaning, unit, source) and allowed values.

    A `file` is kept as an absolute path, as workers run in other folders. A field that only suits
    a `machine` enters no key. A tuple with `some` may not be empty.
    """
    about = {"help": help, "low": low, "high": high, "choices": choices, "file": file}
    return dataclasses.field(default=default, metadata={**about, "some": some, "machine": machine})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of every config: checks types and ranges of its own fields."""

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
    """Raises TypeError where an option of a class is a number without bounds."""
    for f in dataclasses.fields(kind):
        about = f.metadata
        if "help" not in about or about["choices"] or not _numeric(types_of(kind)[f.name]):
            continue
        if about["low"] is None or about["high"] is None:
            raise TypeError(f"{kind.__name__}.{f.name} is a number and lacks low or high")


def _numeric(hint: Any) -> bool:
    """Whether a type is a number, or holds some."""
    return hint in (int, float) or any(_numeric(inner) for inner in typing.get_args(hint))


def _allowed(f: dataclasses.Field[Any]) -> str:
    if f.metadata["choices"]:
        return "one of " + ", ".join(map(repr, f.metadata["choices"]))
    return f"between {f.metadata['low']} and {f.metadata['high']}"


def _checked(f: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    try:
        value = typed(hint, value)
    except MisfitError:
        raise InputError(f"{f.name} is {quoted(value)}; it must be {_type_name(hint)}") from None
    if isinstance(value, tuple) and len(value) > MOST_ITEMS:
        raise InputError(f"{f.name} has {len(value)} values; it must have {MOST_ITEMS} at most")
    if value == () and f.metadata["some"]:
        raise InputError(f"{f.name} is empty")
    choices, low, high = f.metadata["choices"], f.metadata["low"], f.metadata["high"]
    for v in value if isinstance(value, tuple) else (value,):
        bad = choices is not None and v not in choices
        if isinstance(v, int | float):
            bad |= v != v or (low is not None and v < low) or (high is not None and v > high)
        if bad:
            raise InputError(f"{f.name} is {quoted(value)}; it must be {_allowed(f)}")
    return value


def _type_name(hint: Any) -> str:
    return str(hint).replace("<class '", "").replace("'>", "")


def walk(config: Options, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Dotted name, value and field of every option, nested configs included.

    Configs in a mapping go by their keys: `settings={"lpcam": ...}` gives `lpcam.tau`.
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
    """The config with some options, given by dotted name, set to other values.

    Raises:
        InputError: an unknown name (the valid ones are listed) or a value out of range.
    """
    assert isinstance(config, Options)
    valid = [name for name, _, _ in walk(config)]
    for name in changes:
        if name not in valid:
            raise InputError(f"unknown field {name!r}; there are {', '.join(valid)}")
    return typing.cast(T, _replaced(config, changes, ""))


def _replaced(config: Options, changes: Mapping[str, Any], prefix: str) -> Options:
    """The config with the changes whose names begin with the prefix; itself without any."""
    if not any(name.startswith(prefix) for name in changes):
        return config
    new: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value, name = getattr(config, f.name), f"{prefix}{f.name}"
        if isinstance(value, Options):
            new[f.name] = _replaced(value, changes, f"{name}.")
        elif isinstance(value, Mapping):
            new[f.name] = {
                key: _replaced(inner, changes, f"{prefix}{key}.") for key, inner in value.items()
            }
        elif name in changes:
            new[f.name] = changes[name]
    try:
        return dataclasses.replace(config, **new)
    except InputError as error:
        raise InputError(f"{prefix}{error}") if prefix and new else error from None


def is_auto(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether the value leaves the choice to the machine that computes."""
    return value == AUTO and AUTO in (field.metadata["choices"] or ())


def fingerprint(config: Options) -> dict[str, Any]:
    """Return what a stage's key holds of a configuration: plain values by dotted name.

    Files enter by their content, and fields that only suit a machine not at all. A value `auto`
    must have been replaced by what it stands for (`experiment.resolved`): what two machines
    compute differently may not have one key.

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
    """The SHA-256 of a file, hashed again only where it has changed."""
    stat = Path(path).stat()
    return _hashed(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hashed(path: str, size: int, modified: int) -> str:
    return file_digest(Path(path))


def parse(text: str) -> Any:
    """A value from the command line: a Python literal, `none`, or else the text itself."""
    import ast

    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
