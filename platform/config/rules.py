"""Rules that pydantic checks on the values of options, and sentences about broken rules."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from ..errors import FieldError, InputError
from ..serialization import quoted
from ..storage.filesystem import absolute

MOST_ITEMS = 1_000
"""Largest number of values in an option that takes several."""
MOST_CHARACTERS = 10_000
"""Largest number of characters of a text."""
NUMBERS: Mapping[str, type[float]] = {"int": int, "float": float}
"""The types of numbers, by the kinds of pydantic's schemas."""
NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}
INNER = ("nullable", "function-after")
"""The kinds of pydantic's schemas that wrap the schema of a value."""


def _threshold(value: float) -> float:
    from ..metrics import THRESHOLDS  # which imports torch

    if value not in THRESHOLDS:
        raise ValueError("one of 0, 0.01, 0.02 and so on up to 0.99, or none")
    return value


Threshold = Annotated[float, AfterValidator(_threshold)]
"""A threshold at which scores are computed, one of `metrics.THRESHOLDS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule of an option, which lies in the metadata of its pydantic field.

    Attributes:
        low: lowest number.
        high: highest number.
        some: whether a tuple must hold at least one value.
        file: whether the value is a path, which is made absolute.
        machine: whether the option enters no key.
        added: whether the option enters a key only with another value than its default.
        auto: the values that `auto` stands for on a GPU and on a CPU.
    """

    low: float | None = None
    high: float | None = None
    some: bool = False
    file: bool = False
    machine: bool = False
    added: bool = False
    auto: tuple[str, str] | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Return the schema of the option's type with the rule in it, also for inner types."""
        schema: core_schema.CoreSchema = self._restricted(handler(source))
        if self.file:
            return core_schema.with_info_after_validator_function(_absolute, schema)
        return schema

    def _restricted(self, schema: Any) -> Any:
        kind = schema["type"]
        if kind in NUMBERS:
            pairs = (("ge", self.low), ("le", self.high))
            return {
                **schema,
                **{k: NUMBERS[kind](bound) for k, bound in pairs if bound is not None},
            }
        if kind == "str":
            return {**schema, "max_length": MOST_CHARACTERS}  # also refuses invalid Unicode
        if kind in INNER:
            return {**schema, "schema": self._restricted(schema["schema"])}
        if kind == "tuple" and _of_one_type(schema["items_schema"]):
            items = [self._restricted(item) for item in schema["items_schema"]]
            restricted = {**schema, "items_schema": items}
            if "variadic_item_index" in schema:
                restricted |= {"min_length": int(self.some), "max_length": MOST_ITEMS}
            return core_schema.no_info_before_validator_function(_tuple, restricted)
        if kind not in ("bool", "literal"):
            raise TypeError(
                "the type of an option must be bool, int, float, str, Literal, a tuple of one of "
                f"int, float and str, or one of these or None; it is {kind}"
            )
        return schema


def _of_one_type(schemas: Sequence[Any]) -> bool:
    """Return whether all values in a tuple are of one type, numbers or texts."""
    kinds = {schema["type"] for schema in schemas}
    return len(kinds) == 1 and kinds <= {*NUMBERS, "str"}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _absolute(value: str | None, info: core_schema.ValidationInfo) -> str | None:
    return None if value is None else absolute(value, str(info.field_name))


def rule_of(field: FieldInfo) -> Rule | None:
    """Return the rule of a field; None: the field is no option."""
    return next((item for item in field.metadata if isinstance(item, Rule)), None)


def choices_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return the values of a field's type `Literal`; empty: the field has another type."""
    hint = _without_none(field.annotation)[0]
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def check_definition(kind: type, field_name: str, field: FieldInfo, nested: bool) -> None:
    """Raise TypeError where a field of a class has no rule or is a number without bounds."""
    rule = rule_of(field)
    if rule is None:
        if not nested:
            message = f"{kind.__name__}.{field_name} is no option(), so no key would hold it"
            raise TypeError(message)
    elif _numeric(field.annotation) and (rule.low is None or rule.high is None):
        raise TypeError(f"{kind.__name__}.{field_name} is a number and lacks low or high")


def _numeric(hint: Any) -> bool:
    """Return whether a type is a number, or is made of types of which one is a number."""
    return hint in (int, float) or any(_numeric(inner) for inner in typing.get_args(hint))


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None and without metadata, and whether None was part of the type."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        hint, optional = members[0], len(members) < len(typing.get_args(hint))
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint, optional


def requirement(field: FieldInfo) -> str:
    """Return what the value of an option must be, such as "a number between 0 and 1, or none"."""
    hint, optional = _without_none(field.annotation)
    rule = rule_of(field) or Rule()
    if choices := choices_of(field):
        text = "one of " * (len(choices) > 1) + ", ".join(map(repr, choices))
    elif typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        count = "a list of" if inner[-1] is Ellipsis else ("no", "one", "two", "three")[len(inner)]
        text = f"{count} {PLURALS[inner[0]]}"
    else:
        text = "a path" if rule.file else NOUNS[hint]
    if rule.low is not None and rule.high is not None:
        text += f" between {_short(rule.low)} and {_short(rule.high)}"
    return f"{text}, or none" if optional else text


def _advice(field: FieldInfo, value: Any) -> str:
    """Return how a list is written, for a field that is a list and got another value."""
    hint, rule = _without_none(field.annotation)[0], rule_of(field) or Rule()
    if typing.get_origin(hint) is not tuple or isinstance(value, list | tuple | set):
        return ""
    inner = typing.get_args(hint)
    example: list[Any] = [rule.low] * (len(inner) - 1) + [rule.high]
    if inner[0] is str:
        words = value.strip("[]()").split(",") if isinstance(value, str) else ()
        example = [word.strip() for word in words if word.strip()] or ["a", "b"]
    return f"; write a list as {quoted(example)}"


def _short(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def unknown_field(name: str, valid: Iterable[str]) -> FieldError:
    """Return the error of an unknown field, which names the nearest valid fields."""
    names = list(valid)
    nearest = [other for other in names if other.endswith(f".{name}")]
    close = difflib.get_close_matches(name, names, 3)
    nearest = [*nearest, *(other for other in close if other not in nearest)][:3]
    verb = "is" if len(nearest) == 1 else "are"
    hint = f"the nearest {verb} {', '.join(nearest)}; " if nearest else ""
    message = f"unknown field {name!r}; {hint}`wsss methods METHOD` lists all"
    return FieldError(message, name)


def as_input_error(
    fields: Mapping[str, FieldInfo], values: Mapping[str, Any], error: ValidationError
) -> InputError:
    """Return the first error that pydantic found in the values of fields, as one sentence.

    Args:
        fields: all fields of the class, by name.
        values: the values that were given.
        error: pydantic's error.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if not first["loc"]:
        return cause if isinstance(cause, InputError) else InputError(first["msg"])
    name = str(first["loc"][0])
    if name not in fields:
        return unknown_field(name, fields)
    if isinstance(cause, InputError):
        return FieldError(str(cause), name)
    value = values.get(name, fields[name].default)
    if isinstance(value, list | tuple) and len(value) > MOST_ITEMS:
        text = f"has {len(value)} values; it must have {MOST_ITEMS} at most"
    elif first["type"] == "string_too_long":
        text = f"is {quoted(value)}; it must have {MOST_CHARACTERS} characters at most"
    elif first["type"] == "too_short" and not value:
        text = "is empty; it must have at least one value"
    else:
        needed = f"{cause or requirement(fields[name])}{_advice(fields[name], value)}"
        text = f"is {quoted(value)}; it must be {needed}"
    return FieldError(f"{name} {text}", name)
