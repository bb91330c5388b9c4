"""The help of the command line: full sentences, and no default that says nothing."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest
from wsss.platform.cli.parser import parser

SENTENCE = re.compile(r"(?!(Of|That|What|Which|Whose)\b)[A-Z].*[.)]", re.DOTALL)


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and the parsers of all its commands."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


PARSERS = {sub.prog: sub for sub in parsers(parser())}


def helps(sub: argparse.ArgumentParser) -> dict[str, str | None]:
    """Help by name of each argument, option and command of a parser."""
    out = {}
    for action in sub._actions:
        if isinstance(action, argparse._SubParsersAction):
            out |= {choice.dest: choice.help for choice in action._choices_actions}
        else:
            out["/".join(action.option_strings) or action.dest] = action.help
    return out


@pytest.mark.parametrize("prog", PARSERS)
def test_every_help_is_a_sentence(prog: str) -> None:
    assert {n: h for n, h in helps(PARSERS[prog]).items() if not SENTENCE.fullmatch(str(h))} == {}
    assert SENTENCE.fullmatch(str(PARSERS[prog].description))


@pytest.mark.parametrize("prog", PARSERS)
def test_no_help_shows_a_default_that_says_nothing(prog: str) -> None:
    text = " ".join(PARSERS[prog].format_help().split())
    assert re.findall(r"\(default: (?:None|False|==SUPPRESS==|\[\]|)\)", text) == []
    assert "[" not in "".join(re.findall(r"\(default: [^)]*\)", text))


def test_the_default_of_an_option_is_part_of_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_STORE", "100% mine")
    commands = {sub.prog: " ".join(sub.format_help().split()) for sub in parsers(parser())}
    assert "sets the default (default: 100% mine)." in commands["wsss doctor"]
    assert "Splits to import (default: train val)." in commands["wsss import"]
    assert "0 stands for the whole grid (default: 0)." in commands["wsss sweep"]
