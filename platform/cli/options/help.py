"""The help of a command, in plain text that fits the width of the terminal.

Cyclopts can print help with Rich, whose import alone takes longer than the rest of `wsss --help`.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from cyclopts import App, Argument

from .kinds import GROUPS

HELP = ("-h, --help", "Show this help and exit.")
NARROWEST, WIDEST = 40, 100
"""Least and greatest width of the help in columns, on a terminal of any width."""
INDENT, GAP, LABEL_WIDTH = 2, 2, 22
"""Columns before a label, columns after it, and most columns of a label beside its sentence."""


def help_text(app: App, words: Sequence[str], example: str) -> str:
    """Return the help of a command.

    Args:
        app: parser of the command.
        words: words of the command, from `wsss` on.
        example: command line that uses the command.
    """
    width = min(max(shutil.get_terminal_size().columns - 1, NARROWEST), WIDEST)
    commands = [(name, app[name].help) for name in app if not name.startswith("-")]
    arguments = [*app.assemble_argument_collection()] if app.default_command else []
    sections = {"Commands": commands, "Arguments": _rows(a for a in arguments if _is_unnamed(a))}
    for group in GROUPS:
        rows = _rows(a for a in arguments if not _is_unnamed(a) and group in _groups(a))
        sections[group.name] = rows
    sections["Help"] = [HELP]
    blocks = [textwrap.fill(_usage(words, arguments), width, subsequent_indent=" " * 8)]
    blocks += [textwrap.fill(app.help, width)]
    longest = max(len(label) for rows in sections.values() for label, _ in rows)
    left = INDENT + min(LABEL_WIDTH, longest) + GAP
    blocks += [_section(title, rows, left, width) for title, rows in sections.items() if rows]
    return "\n\n".join([*blocks, f"{_bold('Example:')}\n{' ' * INDENT}{example}"])


def _usage(words: Sequence[str], arguments: Sequence[Argument]) -> str:
    """Return the usage of a command, with every argument and option that it needs."""
    usage = ["usage:", *words]
    if not arguments:
        return " ".join([*usage, "COMMAND"])
    options = [argument for argument in arguments if not _is_unnamed(argument)]
    for option in options:
        usage += [option.name, str(option.parameter.metavar)] if option.required else []
    usage += ["[OPTIONS]"] if options else []
    for argument in filter(_is_unnamed, arguments):
        several = " ..." if argument.token_count()[1] else ""
        usage.append(f"{argument.name}{several}" if argument.required else f"[{argument.name}]")
    return " ".join(usage)


def _is_unnamed(argument: Argument) -> bool:
    return argument.field_info.is_positional_only


def _groups(argument: Argument) -> Iterable[object]:
    return argument.parameter.group or ()  # type: ignore[return-value]


def _rows(arguments: Iterable[Argument]) -> list[tuple[str, str]]:
    """Return the label and the sentence of each argument or option."""
    rows = []
    for argument in arguments:
        several = " ..." if argument.parameter.consume_multiple else ""
        metavar = argument.parameter.metavar or ""
        label = f"{argument.name} {metavar}{several}".strip()
        rows.append(
            (label, _with_default(argument.parameter.help or "", argument.field_info.default))
        )
    return rows


def _with_default(sentence: str, default: object) -> str:
    """Return the sentence on an option with its default, unless this is none, no or empty."""
    if default in (None, "", ()) or default is False or default is inspect.Parameter.empty:
        return sentence
    values = default if isinstance(default, tuple) else (default,)
    return f"{sentence.removesuffix('.')} (default: {' '.join(map(str, values))})."


def _section(title: str, rows: Sequence[tuple[str, str]], left: int, width: int) -> str:
    """Return a heading and a list of labels with their sentences, which begin in column `left`."""
    lines = [_bold(f"{title}:")]
    for label, sentence in rows:
        start = f"{' ' * INDENT}{label}".ljust(left)
        if len(label) > left - INDENT - GAP:
            lines.append(start)
            start = " " * left
        lines.append(
            textwrap.fill(
                sentence,
                width,
                initial_indent=start,
                subsequent_indent=" " * left,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


def _bold(text: str) -> str:
    """Return a text in bold type where standard output is a terminal that has it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\x1b[1m{text}\x1b[0m"
