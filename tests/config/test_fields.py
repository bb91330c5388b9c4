"""Tests of platform.config.fields: ranges, types, nested changes, values from the command line."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import cloudpickle
from wsss.platform.config.fields import (
    Options,
    dataclass,
    option,
    parse,
    replaced,
    resolved,
    values_in_key,
    walk,
)
from wsss.platform.errors import FieldError, InputError
from wsss.platform.method import build_experiment

few_examples = settings(max_examples=40, deadline=None)


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    rate: float = option(0.1, "share", low=0, high=1)
    names: tuple[str, ...] = option((), "class names")
    pair: tuple[int, int] = option((1, 2), "range", low=0, high=9)


@dataclass(frozen=True, kw_only=True)
class Outer(Options):
    kind: Literal["a", "b"] = option("a", "kind")
    steps: int = option(3, "steps", low=1, high=1_000)
    flag: bool = option(False, "flag")
    path: str | None = option(None, "name")
    ceiling: float = option(0.0, "at most", low=-1e3, high=2)
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "c", "kind is 'c'; it must be one of 'a', 'b'"),
        ("steps", 0, "steps is 0; it must be a whole number between 1 and 1000"),
        ("steps", 10**4000, "(4001 characters); it must be a whole number between 1 and 1000"),
        ("steps", "9" * 9000, "(9002 characters); it must be a whole number between 1 and 1000"),
        ("steps", 1.5, "steps is 1.5; it must be a whole number between 1 and 1000"),
        ("steps", True, "steps is True; it must be a whole number"),
        ("steps", "3", "steps is '3'; it must be a whole number"),
        ("flag", 1, "flag is 1; it must be true or false"),
        ("path", 3, "path is 3; it must be text, or none"),
        ("ceiling", 2.5, "ceiling is 2.5; it must be a number between -1000 and 2"),
        ("ceiling", -math.inf, "ceiling is -inf; it must be a number between"),
        ("inner.rate", -0.1, "inner.rate is -0.1; it must be a number between 0 and 1"),
        ("inner.rate", float("nan"), "inner.rate is nan; it must be a number between 0 and 1"),
        ("inner.rate", math.inf, "inner.rate is inf; it must be a number between 0 and 1"),
        ("inner.rate", 10**4000, "(4001 characters); it must be a number between 0 and 1"),
        ("inner.rate", "x", "inner.rate is 'x'; it must be a number"),
        ("inner.names", "abc", "it must be a list of texts; write a list as ['abc']"),
        ("inner.names", "[a, b", "it must be a list of texts; write a list as ['a', 'b']"),
        ("inner.names", 3, "it must be a list of texts; write a list as ['a', 'b']"),
        ("inner.pair", 3, "two whole numbers between 0 and 9; write a list as [0, 9]"),
        ("inner.names", (1,), "inner.names is (1,); it must be a list of texts"),
        ("inner.pair", (1,), "inner.pair is (1,); it must be two whole numbers"),
        ("inner.pair", (1, 2, 3), "inner.pair is (1, 2, 3); it must be two whole"),
        ("inner.pair", (1, -2), "it must be two whole numbers between 0 and 9"),
        ("inner.pair", (1, 10), "inner.pair is (1, 10); it must be two whole numbers between 0"),
        ("inner.names", ("a",) * 1001, "inner.names has 1001 values"),
        ("inner.names", {"a"}, "inner.names is {'a'}; it must be a list of texts"),
        ("inner.names", ("\ud800",), "inner.names is ('\\ud800',); it must be a list of texts"),
        ("kind", None, "kind is None; it must be one of 'a', 'b'"),
        ("kind", "", "kind is ''; it must be one of 'a', 'b'"),
    ],
)
def test_a_wrong_value_is_named_with_its_field_and_what_is_allowed(name, value, message):
    with pytest.raises(InputError) as caught:
        replaced(Outer(), {name: value})
    assert message in str(caught.value)
    assert isinstance(caught.value, FieldError)
    assert caught.value.field == name
    assert pickle.loads(pickle.dumps(caught.value)).field == name


@pytest.mark.parametrize(("name", "cell"), [("steps", None), ("inner.pair", 1), ("ceiling", None)])
def test_a_number_too_long_to_print_is_refused_in_words(name, cell):
    number = 10**9000
    with pytest.raises(InputError, match=f"{name} is a number of thousands of digits; it must be"):
        replaced(Outer(), {name: (cell, number) if cell else number})


def test_values_are_checked_when_a_config_is_made():
    with pytest.raises(InputError, match="rate is 2"):
        Inner(rate=2)
    with pytest.raises(InputError, match="rate is 2"):
        dataclasses.replace(Inner(), rate=2)
    with pytest.raises(FrozenInstanceError):
        Inner().rate = 0.5
    with pytest.raises(TypeError):
        Inner(0.1)


def test_values_take_the_type_of_their_field():
    inner = Inner(rate=1, names=["x", "y"], pair=[3, 4])
    assert type(inner.rate) is float
    assert inner.names == ("x", "y")
    assert inner.pair == (3, 4)
    assert Outer(path="x").path == "x"


def test_replaced_changes_only_the_named_fields():
    before = Outer()
    after = replaced(before, {"steps": 9, "inner.rate": 0.5})
    assert (after.steps, after.inner.rate, after.inner.pair) == (9, 0.5, (1, 2))
    assert before == Outer()
    assert replaced(before, {}) == before


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("step", "steps"),
        ("rate", "inner.rate"),
        ("inner.rat", "inner.rate"),
        ("iner.rate", "inner.rate"),
        ("inner.name", "inner.names"),
        ("inner", "inner.rate"),
        ("", ""),
        ("something else", ""),
    ],
)
def test_an_unknown_field_names_the_nearest_valid_ones(name, nearest):
    with pytest.raises(FieldError) as caught:
        replaced(Outer(), {name: 1})
    message = str(caught.value)
    assert message.startswith(f"unknown field {name!r}; ")
    assert message.endswith("`wsss methods METHOD` lists all")
    assert bool(re.search(f"the nearest (is|are) {nearest}", message)) == bool(nearest)
    assert message.count(",") <= 2


def test_an_unknown_name_is_refused_when_a_config_is_made():
    with pytest.raises(InputError, match=r"unknown field 'rat'; the nearest is rate"):
        Inner(rat=0.5)


def test_walk_names_every_option():
    values = {name: value for name, value, _ in walk(Outer())}
    assert list(values) == [
        *("kind", "steps", "flag", "path", "ceiling"),
        *("inner.rate", "inner.names", "inner.pair"),
    ]
    assert values["inner.pair"] == (1, 2)
    assert all(field.description for _, _, field in walk(Outer()))


@few_examples
@given(st.floats(allow_nan=True))
def test_a_rate_in_range_is_kept_and_any_other_is_refused(value):
    if 0 <= value <= 1:
        assert Inner(rate=value).rate == value
    else:
        with pytest.raises(InputError):
            Inner(rate=value)


@few_examples
@given(
    st.one_of(
        st.integers(),
        st.booleans(),
        st.none(),
        st.tuples(st.integers(), st.text()),
        st.floats(0, 9),
    )
)
def test_parse_reads_python_values(value):
    assert parse(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("none", None),
        ("1e-4", 1e-4),
        ("(1, 0.5)", (1, 0.5)),
        ("[1,2]", [1, 2]),
        ("[val]", ["val"]),
        ("[val, 'a b', 0.5, none]", ["val", "a b", 0.5, None]),
        ("[a: b]", "[a: b]"),
        ("[a, [b]", "[a, [b]"),
        ("[*a]", "[*a]"),
        ("'[val]'", "[val]"),
        ("resnet50", "resnet50"),
        ("../w.pth", "../w.pth"),
        ("__import__('os')", "__import__('os')"),
        ("", ""),
    ],
)
def test_parse_reads_words_of_the_command_line(text, value):
    assert parse(text) == value


def test_a_field_that_no_key_would_hold_is_refused():
    with pytest.raises(TypeError, match=r"Lacking.rate is no option\(\)"):

        @dataclass(frozen=True, kw_only=True)
        class Lacking(Options):
            rate: float = 0.1


def test_keys_hold_the_content_of_files_and_nothing_of_the_machine(tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Keyed(Options):
        weights: str | None = option(None, "a file", file=True)
        actors: int = option(0, "side by side", low=0, high=99, machine=True)
        inner: Inner = field(default_factory=Inner)

    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(b"weights")
    elsewhere = Keyed(weights=str(two), actors=3)
    assert values_in_key(Keyed(weights=str(one))) == values_in_key(elsewhere)
    assert set(values_in_key(Keyed())) == {"weights", "inner.rate", "inner.names", "inner.pair"}
    two.write_bytes(b"others")
    assert values_in_key(Keyed(weights=str(one))) != values_in_key(Keyed(weights=str(two)))
    two.unlink()
    with pytest.raises(InputError, match=r"there is no weight file .* names; correct the path"):
        values_in_key(Keyed(weights=str(two)))


def test_an_option_that_came_later_enters_keys_only_with_another_value():
    @dataclass(frozen=True, kw_only=True)
    class Earlier(Options):
        weights: str | None = option(None, "a file")

    @dataclass(frozen=True, kw_only=True)
    class Later(Options):
        weights: str | None = option(None, "a file")
        weights_key: str = option("", "its part", added=True)

    assert values_in_key(Later()) == values_in_key(Earlier())
    assert values_in_key(Later(weights_key="ema")) == {"weights": None, "weights_key": "ema"}


def test_bounds_do_not_enter_keys():
    @dataclass(frozen=True, kw_only=True)
    class Narrow(Options):
        rates: tuple[float, ...] = option((0.5,), "rates", low=0, high=1)

    @dataclass(frozen=True, kw_only=True)
    class Wide(Options):
        rates: tuple[float, ...] = option((0.5,), "rates", low=-9, high=9)

    assert values_in_key(Narrow()) == values_in_key(Wide()) == {"rates": (0.5,)}


@pytest.mark.parametrize("kind", [int, float, int | None, tuple[float, ...], tuple[int, int]])
@pytest.mark.parametrize("about", [{}, {"low": 0}, {"high": 1}])
def test_a_number_without_bounds_is_refused(kind, about):
    names = {"__annotations__": {"rate": kind}, "rate": option(None, "rate", **about)}
    lacking = type("Lacking", (Options,), names)
    with pytest.raises(TypeError, match=r"Lacking.rate is a number and lacks low or high"):
        dataclass(frozen=True, kw_only=True)(lacking)


@pytest.mark.parametrize(
    "kind",
    [
        list[int],
        dict[str, int],
        int | str,
        tuple[int, str],
        tuple[tuple[int, ...], ...],
        bytes,
        Any,
    ],
)
def test_an_option_of_a_type_that_files_cannot_hold_is_refused(kind):
    names = {"__annotations__": {"rate": kind}, "rate": option(None, "rate", low=0, high=1)}
    with pytest.raises(TypeError, match=r"the type of an option must be bool, int, float"):
        dataclass(frozen=True, kw_only=True)(type("Odd", (Options,), names))


def test_a_class_without_the_decorator_is_refused():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unchecked(Inner):
        more: int = option(1, "more", low=0, high=9)

    class Undecorated(Inner):
        pass

    for kind in (Unchecked, Undecorated):
        with pytest.raises(TypeError, match=r"needs the decorator `config\.fields\.dataclass`"):
            kind()


@dataclass(frozen=True, kw_only=True)
class Holder(Options):
    inner: Inner = field(default_factory=lambda: Inner(rate=0.7))
    by_name: Mapping[str, Options] = field(default_factory=dict)


def test_configs_travel_to_workers_and_keep_their_class():
    config = Holder(by_name={"outer": Outer(steps=7, inner=Inner(pair=(3, 4)))})
    for dump in (pickle.dumps, cloudpickle.dumps):
        copy = pickle.loads(dump(config))
        assert copy == config
        assert copy.by_name["outer"].inner.pair == (3, 4)


def test_a_class_of_a_notebook_travels_to_workers():
    """Ray sends such a class by value."""
    names: dict[str, Any] = {"__name__": "__main__", "Options": Options, "dataclass": dataclass}
    names["rate"] = option(0.5, "rate", low=0, high=1)
    cell = "@dataclass(frozen=True, kw_only=True)\nclass Mine(Options):\n    rate: float = rate\n"
    exec(cell, names)
    copy = pickle.loads(cloudpickle.dumps(names["Mine"](rate=0.25)))
    assert copy.rate == 0.25
    with pytest.raises(InputError, match="rate is 2"):
        dataclasses.replace(copy, rate=2)


def test_an_empty_tuple_is_refused_where_a_value_is_required():
    @dataclass(frozen=True, kw_only=True)
    class Some(Options):
        splits: tuple[str, ...] = option(("train",), "splits", some=True)

    with pytest.raises(InputError, match="splits is empty"):
        Some(splits=())


def test_the_word_none_is_a_choice_where_a_field_has_it():
    """From the command line it comes as None."""
    e = build_experiment("psdpm", preset="scenes", baseline="cam")
    assert parse("none") is None
    assert replaced(e, {"psdpm.position": parse("none")}).settings["psdpm"].position == "none"
    with pytest.raises(InputError, match=r"refine\.kind is None"):
        replaced(e, {"refine.kind": None})


def test_an_added_option_enters_a_key_only_with_another_value():
    @dataclass(frozen=True, kw_only=True)
    class Grown(Options):
        old: int = option(1, "There from the start.", low=0, high=9)
        new: int = option(2, "Added later.", low=0, high=9, added=True)

    assert values_in_key(Grown()) == {"old": 1}
    assert values_in_key(Grown(old=3, new=2)) == {"old": 3}
    assert values_in_key(Grown(new=4)) == {"old": 1, "new": 4}


def test_an_added_option_that_is_auto_enters_a_key_only_with_another_value_than_a_cpus():
    @dataclass(frozen=True, kw_only=True)
    class Grown(Options):
        word: Literal["auto", "b"] = option("auto", "Just a word.")
        library: Literal["auto", "slow", "fast"] = option(
            "auto", "Added later.", added=True, auto=("fast", "slow")
        )

    assert resolved(Grown(), gpu=False) == Grown(library="slow")
    assert resolved(Grown(), gpu=True) == Grown(library="fast")
    assert values_in_key(Grown(library="slow")) == {"word": "auto"}
    assert values_in_key(Grown(library="fast")) == {"word": "auto", "library": "fast"}
    with pytest.raises(RuntimeError, match="library is 'auto', which may not enter a key"):
        values_in_key(Grown())
