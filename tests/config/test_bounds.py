"""Tests of the bounds of every number that an experiment or a command takes."""

from __future__ import annotations

import math
import typing

import pytest
from command_line import COMMAND_WORDS, arguments_of, is_option
from wsss.platform.cli import main
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import Options, replaced, walk
from wsss.platform.config.limits import LIMITS
from wsss.platform.config.rules import rule_of
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment, methods
from wsss.platform.serialization import types_of

BEYOND = (math.inf, -math.inf, math.nan, 10**400, -(10**400), 10**9000, 1e300)


def configs(method: str) -> list[Options]:
    """Return all objects of options of a method's experiment, nested ones too."""
    collected: list[Options] = []

    def visit(config: Options) -> None:
        collected.append(config)
        for name in types_of(type(config)):
            value = getattr(config, name)
            for inner in [*value.values()] if isinstance(value, typing.Mapping) else [value]:
                if isinstance(inner, Options):
                    visit(inner)

    visit(build_experiment(method))
    return collected


def numbers_of(config: Options) -> list[tuple[str, typing.Any]]:
    """Return the name and type of each field that is a number or holds numbers."""
    hints = types_of(type(config))
    return [
        (name, hint)
        for name, hint in hints.items()
        if hint in (int, float) or {int, float} & {*members(hint)}
    ]


def members(hint: typing.Any) -> typing.Iterator[typing.Any]:
    """Yield the types that a type is made of, at any depth."""
    for inner in typing.get_args(hint):
        yield inner
        yield from members(inner)


def shaped(hint: typing.Any, value: typing.Any) -> list[typing.Any]:
    """Return the forms of a value that a field of this type takes: alone, or inside a tuple."""
    if tuple not in {typing.get_origin(hint), *map(typing.get_origin, members(hint))}:
        return [value]
    return [(value, 1), (1, value)]


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_number_of_an_experiment_has_bounds(method: str) -> None:
    seen = set()
    for config in configs(method):
        for name, hint in numbers_of(config):
            seen.add(name)
            for number in BEYOND:
                for value in shaped(hint, number):
                    with pytest.raises(InputError, match=f"{name} is .*; it must be") as caught:
                        replaced(config, {name: value})
                    assert len(str(caught.value)) < 800
    assert {"epochs", "batch_size", "lr", "resize", "rescale", "scales", "seed"} <= seen


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_preset_lies_within_the_bounds(method: str) -> None:
    for preset in methods()[method].presets:
        assert list(walk(build_experiment(method, preset=preset)))


def test_epochs_of_21_digits_are_refused() -> None:
    with pytest.raises(InputError, match=r"training\.epochs is 9+; it must be a whole number"):
        build_experiment("cam", changes={"training.epochs": 10**21 - 1})


NUMBERS = [
    (words, argument.name.removeprefix("--"), sum(not is_option(a) for a in arguments_of(words)))
    for words in COMMAND_WORDS
    for argument in arguments_of(words)
    if {int, float} & {argument.hint, *members(argument.hint)}
]


def test_every_number_of_a_command_has_limits() -> None:
    assert {name for _, name, _ in NUMBERS} == set(LIMITS)


TEXTS = ("-1", "1e999", "nan", "inf", "0x10", "", "1.5", "9" * 30, "9" * 9000, "a", "1_", "½")


OF_OTHER_COMMANDS = ("-1", "9" * 9000)
"""Texts that are tried with each command; the other texts only with the first command that has the
option."""
NUMBER_CASES = [
    pytest.param(words, name, leading, text, id=f"{'-'.join(words)}-{name}-{text[:9]}-{len(text)}")
    for k, (words, name, leading) in enumerate(NUMBERS)
    for text in (OF_OTHER_COMMANDS if name in {n for _, n, _ in NUMBERS[:k]} else TEXTS)
]


@pytest.mark.parametrize(("words", "name", "leading", "text"), NUMBER_CASES)
def test_a_number_of_a_command_is_refused_in_one_sentence(
    words: tuple[str, ...], name: str, leading: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    required = ["--data", "a", "--name", "b"] if words == ("import",) else []
    kind = {"import": ["irn"]}.get(words[0], [])
    assert main([*words, *[*kind, "x", "x"][:leading], *required, f"--{name}={text}"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    low, high = LIMITS[name]
    assert message.startswith(f"wsss: --{name} is ")
    assert message.endswith(f"number from {low} to {high}")
    assert len(message) < 300


def test_commands_and_options_have_the_same_bounds() -> None:
    for config, names in ((Scenes(), ("train", "val", "size", "seed")), (Experiment(), ("seed",))):
        rules = {name: rule_of(field) for name, _, field in walk(config)}
        for name in names:
            rule = rules[name]
            assert rule
            assert (rule.low, rule.high) == LIMITS[name]
