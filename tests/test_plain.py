"""platform.plain: plain values become what they should be, or it is said which one is not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from wsss.platform.errors import LONGEST, InputError
from wsss.platform.plain import MisfitError, typed


@dataclass(frozen=True)
class Inner:
    rate: float
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    of: dict[str, Inner | None] = field(default_factory=dict)


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
            {"inner": {"rate": 1}, "many": [{"rate": 2, "name": "b"}], "of": {"c": None}},
            Outer(Inner(1.0), (Inner(2.0, "b"),), of={"c": None}),
        ),
    ],
)
def test_a_value_that_fits(hint, value, expected):
    found = typed(hint, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "told"),
    [
        (int, True, "it is True"),
        (int, 1.0, "it is 1.0"),
        (float, True, "it is True"),
        (float, None, "it is None"),
        (float, 10**400, "it is too large"),
        (str, "\ud800", "no text"),
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
def test_a_value_that_does_not(hint, value, told):
    with pytest.raises(MisfitError, match=told):
        typed(hint, value)


def test_none_may_stand_for_a_number_that_is_none():
    assert math.isnan(typed(float, None, nan=True))
    assert math.isnan(typed(dict[str, float] | None, {"a": None}, nan=True)["a"])
    assert typed(float | None, None, nan=True) is None


def test_a_sentence_is_one_printable_line():
    text = str(InputError("first\nsecond \x1b[2J" + "a" * 5000))
    assert text.startswith("first second [2Jaaa")
    assert text.isprintable()
    assert len(text) < LONGEST + 10
