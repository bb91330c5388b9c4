"""The commands of `wsss` and their options, for tests of several folders."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Sequence

from cyclopts import App, Argument
from wsss.platform.cli import main
from wsss.platform.cli.parser import COMMANDS, SOURCES, parser

COMMAND_WORDS = [*((name,) for name in COMMANDS), *(("data", kind) for kind in SOURCES)]
"""The words of each command that takes options."""


@functools.cache
def app_of(words: tuple[str, ...]) -> App:
    """Return the parser of a command."""
    app = parser(words)
    for word in words:
        app = app[word]
    return app


@functools.cache
def arguments_of(words: tuple[str, ...]) -> list[Argument]:
    """Return the arguments and options of a command."""
    return [*app_of(words).assemble_argument_collection()]


def is_option(argument: Argument) -> bool:
    """Return whether a value is given after the name of an option."""
    return argument.name.startswith("--")


def outputs(commands: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each command, which runs in this process."""
    results = []
    for words in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*words])
        results.append((code, out.getvalue(), err.getvalue()))
    return results
