"""Kinds of arguments and options, the headings of their help, and numbers within limits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from cyclopts import Group, Parameter, Token

from ...config.limits import LIMITS
from ...errors import InputError
from ...serialization import quoted

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

DATA = Group("Data")
EXPERIMENT = Group("Experiment")
CHAIN = Group("Refinement and segmenter")
SEARCH = Group("Search")
REPEATS = Group("Repeats")
EXECUTION = Group("Execution")
OUTPUT = Group("Store and output")
GROUPS = (DATA, EXPERIMENT, CHAIN, SEARCH, REPEATS, EXECUTION, OUTPUT)
"""The headings under which the help of a command lists its options, in this order."""
TRACKERS = ("tensorboard", "mlflow", "wandb")
"""The names of trackers that a shell offers."""
HIDDEN = "hidden"
"""Mark of a field of options that no word of a command line sets."""
MANY = (1, 1_000_000)
"""Least and most values of an option that takes several."""

Completer: TypeAlias = "Callable[[CompletionContext], Sequence[str]]"
"""A function that returns the values that a shell offers for an option."""


def argument(label: str, help: str, completer: Completer | None = None) -> Parameter:
    """Return the description of an argument, a value that is given without a name.

    Args:
        label: what stands for the argument in the help, in capitals.
        help: sentence that says what the argument is.
        completer: values that a shell offers.
    """
    return Parameter(name=label, help=help, completer=completer)


def option(
    group: Group, metavar: str, help: str, completer: Completer | None = None, several: bool = False
) -> Parameter:
    """Return the description of an option with a value.

    Args:
        group: heading under which the help lists the option.
        metavar: what stands for the value in the help, in capitals.
        help: sentence that says what the option is.
        completer: values that a shell offers.
        several: whether one or more values follow the name of the option.
    """
    return Parameter(
        group=group,
        metavar=metavar,
        help=help,
        completer=completer,
        consume_multiple=MANY if several else None,
    )


def number(
    group: Group,
    metavar: str,
    help: str,
    kind: type[int] | type[float] = int,
    several: bool = False,
) -> Parameter:
    """Return the description of an option that is a number within the limits of its name.

    Args:
        group: heading under which the help lists the option.
        metavar: what stands for the number in the help, in capitals.
        help: sentence that says what the option is.
        kind: type of the number.
        several: whether one or more numbers follow the name of the option.
    """

    def converted(type_: type, tokens: Sequence[Token]) -> float | tuple[float, ...]:
        name = tokens[-1].keyword or ""
        values = tuple(checked(kind, name, token.value) for token in tokens)
        return values if several else values[-1]

    return Parameter(
        group=group,
        metavar=metavar,
        help=help,
        converter=converted,
        consume_multiple=MANY if several else None,
    )


def checked(kind: type[int] | type[float], name: str, text: str) -> float:
    """Return the number that a user gave for an option.

    Args:
        kind: type of the number.
        name: option, with its hyphens; its limits are those of `config.limits.LIMITS`.
        text: what the user wrote.

    Raises:
        InputError: the text is no number within the limits.
    """
    low, high = LIMITS[name.removeprefix("--")]
    try:
        value = kind(text.replace("_", "?"))  # Python reads 1_000 as a number
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        noun = "a number" if kind is float else "a whole number"
        raise InputError(f"{name} is {quoted(text)}; it must be {noun} from {low} to {high}")
    return value


def flag(group: Group, help: str) -> Parameter:
    """Return the description of an option without a value."""
    return Parameter(group=group, help=help)


def default_store() -> str:
    """Return the store of a command without --store."""
    return os.environ.get("WSSS_STORE") or "store"


def default_trackers() -> tuple[str, ...]:
    """Return the trackers of a command without --log."""
    return tuple(name for name in re.split(r"[\s,]+", os.environ.get("WSSS_LOG", "")) if name)


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of a command; the base of the classes of options, one for each command.

    Attributes:
        about: sentence that says what the command does.
        example: command line that uses the command.
    """

    about: ClassVar[str]
    example: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class InStore(Command):
    """Options of a command that reads or writes a store."""

    store: Annotated[
        str,
        option(
            OUTPUT,
            "DIR",
            "Store of all artifacts and records: a folder, or s3://BUCKET/PREFIX; the environment "
            "variable WSSS_STORE sets the default.",
        ),
    ] = field(default_factory=default_store)


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """Option of commands that show progress."""

    quiet: Annotated[bool, flag(OUTPUT, "Show no progress.")] = False


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """Option of commands that print a table."""

    format: Annotated[
        Literal["table", "json", "csv", "markdown"],
        option(
            OUTPUT,
            "FORMAT",
            "Format of the table: table, json, csv or markdown; in any but table, standard output "
            "holds the table alone.",
        ),
    ] = "table"


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """Option of commands whose runs a tracker can keep."""

    log: Annotated[
        tuple[str, ...],
        option(
            OUTPUT,
            "TRACKER",
            "Tracker that gets losses, scores and pictures, too: tensorboard, mlflow or wandb; may "
            "be repeated; the environment variable WSSS_LOG sets the default.",
            lambda context: TRACKERS,
        ),
    ] = field(default_factory=default_trackers)
