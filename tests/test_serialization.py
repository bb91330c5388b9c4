"""Tests of platform.serialization: JSON becomes typed values, or an error names the fault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from wsss.platform.errors import LONGEST, InputError
from wsss.platform.serialization import MisfitError, from_json, parse_time, typed


@dataclass(frozen=True)
class Inner:
    rate: float
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    by_name: dict[str, Inner | None] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str | None, None, None),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[float, str], [1, "a"], (1.0, "a")),
        (list[int], [1], [1]),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Any, [None, {}], [None, {}]),
        (int | float, 3, 3),
        (Outer, {"inner": {"rate": 1}}, Outer(Inner(1.0))),
        (
            Outer,
            {"inner": {"rate": 1}, "many": [{"rate": 2, "name": "b"}], "by_name": {"c": None}},
            Outer(Inner(1.0), (Inner(2.0, "b"),), by_name={"c": None}),
        ),
    ],
)
def test_a_value_that_fits_its_type_is_converted(hint, value, expected):
    result = typed(hint, value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, True, "it is True"),
        (int, 1.0, "it is 1.0"),
        (float, True, "it is True"),
        (float, None, "it is None"),
        (float, 10**400, "it is too large"),
        (str, "\ud800", "not valid Unicode"),
        (str | None, 3, "it is 3"),
        (tuple[int, str], [1], r"it is \[1\]"),
        (tuple[int, ...], "ab", "it is 'ab'"),
        (dict[str, int], {1: 1}, "a key of it is 1"),
        (dict[str, int], {"a": "b"}, "it.a is 'b'"),
        (Inner, [1], r"it is \[1\]"),
        (Outer, {}, "it lacks the field 'inner'"),
        (Outer, {"inner": {"rate": "x"}}, "it.inner.rate is 'x'"),
        (Outer, {"inner": {"rate": 1, "more": 2}}, "it.inner has the unknown field 'more'"),
        (Outer, {"inner": {"rate": 1}, "many": [{}]}, r"it.many\[0\] lacks the field 'rate'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(hint, value, message):
    with pytest.raises(MisfitError, match=message):
        typed(hint, value)


def test_none_is_read_as_nan_where_nan_is_allowed():
    assert math.isnan(typed(float, None, nan=True))
    assert math.isnan(typed(dict[str, float] | None, {"a": None}, nan=True)["a"])
    assert typed(float | None, None, nan=True) is None


def test_an_error_message_is_one_printable_line():
    text = str(InputError("first\nsecond \x1b[2J" + "a" * 5000))
    assert text.startswith("first second [2Jaaa")
    assert text.isprintable()
    assert len(text) < LONGEST + 10


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "nested deeper than 100"),
        ("[" * 101 + "]" * 101, "nested deeper than 100"),
        ("[1e999]", "the number inf"),
        ('{"a": NaN}', "the number nan"),
        ("1" + "0" * 30, "more than 64 bits"),
        ("\0\0}", "Expecting value"),
    ],
)
def test_json_that_no_record_can_hold_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        from_json(text)
    with pytest.raises(ValueError, match=fault):
        from_json(text.encode())


def test_json_that_a_record_can_hold_is_read() -> None:
    deep = "[" * 99 + "]" * 99
    assert from_json(f'{{"a": [1, 0.5, true, null, "b"], "c": {deep}}}')["a"][1] == 0.5
    assert math.isnan(from_json("NaN", nan=True))


def test_times_are_compared_as_instants() -> None:
    summer, winter = parse_time("2026-10-25T02:30:00+0200"), parse_time("2026-10-25T02:10:00+0100")
    assert summer < winter
    assert parse_time("2026-10-25T00:30:00Z") == summer
    for text in ("", "now", "2026-10-25T02:30:00", "0001-01-01T00:00:00+2300"):
        with pytest.raises(ValueError, match="is not a time with its offset from UTC"):
            parse_time(text)
