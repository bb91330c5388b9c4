"""Classes of options: dataclasses whose fields have a help text and a range.

    @dataclass(frozen=True, kw_only=True)
    class Config(Options):
        tau: float = option(0.1, "Threshold of the class map.", low=0, high=1)
        weighting: Literal["soft", "hard"] = option("soft", "Weighting of the positions.")

Pydantic checks types and ranges whenever a configuration is made. Types are strict: a whole number
is a number, and a list is accepted for a tuple, but "3" is no number and True is no whole number.
Every option that is a number has a lowest and a highest value, which do not enter the keys of
stages.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import pydantic.dataclasses
from pydantic.fields import FieldInfo

from ..errors import FieldError, InputError
from ..storage.filesystem import file_digest
from .rules import (
    Rule,
    as_input_error,
    check_definition,
    choices_of,
    rule_of,
    unknown_field,
)

T = TypeVar("T")
AUTO = "auto"
"""The value of a field whose choice is left to the machine that computes."""
STRICT = pydantic.ConfigDict(
    strict=True, extra="forbid", validate_default=True, allow_inf_nan=False
)


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    file: bool = False,
    some: bool = False,
    machine: bool = False,
    added: bool = False,
    auto: tuple[str, str] | None = None,
) -> Any:
    """Return a pydantic field with a help text and the range of its values.

    Args:
        default: the value where none is given.
        help: a sentence that says what the option is, with unit and source.
        low: lowest value, also of each number in a tuple.
        high: highest value, also of each number in a tuple.
        file: whether the option is a file, which is kept as an absolute path because workers run
            in other folders.
        some: whether an option that is a tuple must hold at least one value.
        machine: whether the option only fits the computation to the machine and changes no result,
            so that it enters no key.
        added: whether the option was added after results were stored, whose keys stay valid: it
            enters a key only with another value than its default. If that is `auto`, the option
            enters only with another value than that of a CPU.
        auto: the values that `auto` stands for on a GPU and on a CPU; None: `auto` is no value.
    """
    extra: dict[str, Any] = {"format": "path"} if file else {}
    extra |= {"x-machine": True} if machine else {}
    field = pydantic.Field(default, description=help, json_schema_extra=extra or None)
    rule = Rule(low=low, high=high, file=file, some=some, machine=machine, added=added, auto=auto)
    field.metadata.append(rule)
    return field


if TYPE_CHECKING:  # mypy checks the arguments of `dataclasses.replace` only with this decorator
    from dataclasses import dataclass as dataclass
else:

    def dataclass(**arguments: Any) -> Callable[[type[T]], type[T]]:
        """Return a decorator like `dataclasses.dataclass`, with which pydantic checks values.

        Raises:
            TypeError: a field is no option, or is a number without bounds.
        """

        def decorated(cls: type[T]) -> type[T]:
            kind: Any = pydantic.dataclasses.dataclass(cls, config=STRICT, **arguments)
            fields, initialize = kind.__pydantic_fields__, kind.__init__
            for name, field in fields.items():
                check_definition(kind, name, field, _nested(field.annotation))

            def __init__(self: Any, **values: Any) -> None:  # noqa: N807
                try:
                    initialize(self, **values)
                except pydantic.ValidationError as error:
                    raise as_input_error(fields, values, error) from None

            kind.__init__ = __init__
            return kind

        return decorated


def _nested(hint: Any) -> bool:
    """Return whether a type holds options: a class of options, or a mapping or union of them."""
    if isinstance(hint, type) and issubclass(hint, Options):
        return True
    return any(_nested(inner) for inner in typing.get_args(hint))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all classes of options, whose values are checked."""

    if not TYPE_CHECKING:

        def __new__(cls, **values: Any) -> Options:
            # Not `__is_pydantic_dataclass__`: cloudpickle drops what equals an inherited value.
            if "__pydantic_validator__" not in vars(cls):
                raise TypeError(f"{cls.__name__} needs the decorator `config.fields.dataclass`")
            return super().__new__(cls)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as nested dicts."""
        return dataclasses.asdict(typing.cast(Any, self))


def fields_of(kind: type[Options]) -> dict[str, FieldInfo]:
    """Return the pydantic fields of a class of options, by name."""
    fields: dict[str, FieldInfo] = kind.__pydantic_fields__  # type: ignore[attr-defined]
    return fields


def walk(config: Options, prefix: str = "") -> Iterator[tuple[str, Any, FieldInfo]]:
    """Yield the dotted name, value and field of every option, nested options included.

    Options in a mapping are named by its keys: `settings={"lpcam": ...}` gives `lpcam.tau`.
    """
    for name, field in fields_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Options):
            yield from walk(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                yield from walk(inner, f"{prefix}{key}.")
        elif rule_of(field):
            yield f"{prefix}{name}", value, field


def replaced(config: T, changes: Mapping[str, Any]) -> T:
    """Return the configuration with other values of some options.

    Args:
        config: the configuration, which stays as it is.
        changes: the new values by dotted name.

    Raises:
        FieldError: a name is unknown (the nearest valid names are listed), or a value is out of
            range.
    """
    assert isinstance(config, Options)
    valid = {name for name, _, _ in walk(config)}
    for name in changes:
        if name not in valid:
            raise unknown_field(name, (valid_name for valid_name, _, _ in walk(config)))
    return typing.cast(T, _replaced(config, changes, ""))


def _replaced(config: Options, changes: Mapping[str, Any], prefix: str) -> Options:
    """Return the options with all changes whose names begin with the prefix."""
    if not any(name.startswith(prefix) for name in changes):
        return config
    values: dict[str, Any] = {}
    for name, field in fields_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Options):
            values[name] = _replaced(value, changes, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            values[name] = {
                key: _replaced(inner, changes, f"{prefix}{key}.") for key, inner in value.items()
            }
        elif f"{prefix}{name}" in changes:
            values[name] = _spelled(changes[f"{prefix}{name}"], field)
    try:
        return dataclasses.replace(config, **values)
    except FieldError as error:
        raise error.inside(prefix) from None
    except InputError as error:
        raise InputError(f"{prefix}{error}") if prefix else error from None


def _spelled(value: Any, field: FieldInfo) -> Any:
    """Return the value of a field, of which one choice may be the word none.

    The command line reads the word as None.
    """
    return "none" if value is None and "none" in choices_of(field) else value


def resolved(config: T, gpu: bool) -> T:
    """Return the configuration with each value `auto` replaced by the value for a kind of machine.

    Args:
        config: may hold `auto` in some options.
        gpu: whether networks are trained on a GPU.
    """
    assert isinstance(config, Options)
    changes = {
        name: rule.auto[0 if gpu else 1]
        for name, value, field in walk(config)
        if value == AUTO and (rule := rule_of(field)) and rule.auto
    }
    return replaced(config, changes) if changes else config


def values_in_key(config: Options) -> dict[str, Any]:
    """Return the values, by dotted name, with which a configuration enters the key of a stage.

    A file enters by the hash of its content; an option with `machine` does not enter, and
    one with `added` only where its value is not its default, or not that of a CPU if it is `auto`.
    A value `auto` must have been replaced before (`resolved`), because two machines may
    compute different results from it, which must not share a key.

    Raises:
        InputError: a file is missing.
        RuntimeError: a value is `auto`.
    """
    out = {}
    for name, value, field in walk(config):
        rule = rule_of(field)
        assert rule is not None
        if rule.machine:
            continue
        if rule.auto and value == AUTO:
            raise RuntimeError(
                f"{name} is {AUTO!r}, which may not enter a key; call `resolved` first"
            )
        if rule.added and value == (rule.auto[1] if rule.auto else field.default):
            continue
        if rule.file and value:
            if not Path(value).is_file():
                raise InputError(
                    f"there is no weight file {value}, which the field {name} names; correct the "
                    "path"
                )
            value = _content(value)
        out[name] = value
    return out


def file_states(config: Options) -> tuple[tuple[int, int] | None, ...]:
    """Return size and time of change of each file that a configuration names; None if missing."""
    paths = [v for _, v, field in walk(config) if v and (rule := rule_of(field)) and rule.file]
    return tuple(_state(path) if Path(path).is_file() else None for path in paths)


def _state(path: str) -> tuple[int, int]:
    stat = Path(path).stat()
    return stat.st_size, stat.st_mtime_ns


def _content(path: str) -> str:
    """Return the SHA-256 of a file, which is hashed again only after a change."""
    return _hashed(path, *_state(path))


@functools.lru_cache(maxsize=64)
def _hashed(path: str, size: int, modified: int) -> str:
    return file_digest(Path(path))


def parse(text: str) -> Any:
    """Return the value of a text: a Python literal, `none`, `true`, `false`, or else the text.

    A list in brackets may hold plain words, as in an experiment file: `[train, val]`.
    """
    import ast

    from .yaml_reader import flow_list

    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        values = flow_list(text) if text[:1] == "[" and text[-1:] == "]" else None
        return text if values is None else values
