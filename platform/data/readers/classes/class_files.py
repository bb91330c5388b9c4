"""Reading of files of class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ....labels import VOID
from ....serialization import quoted
from ...names import check_classes
from ..files import read_text
from .class_names import BACKGROUND

IGNORED = ("__ignore__", "_ignore_", "ignore", "void")
"""Names that stand for pixels that are not scored, in small letters."""
_NUMBERED = re.compile(r"([0-9]{1,3})[ \t:,.;]+(\S.*)")


@dataclass(frozen=True)
class ClassFile:
    """The class names of a file, and sentences on how the file was read."""

    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_classes(path: Path) -> ClassFile:
    """Read class names, one a line, without a first line `background` and empty lines at the end.

    Names with their numbers in front, from 0 or from 1 in order, are read without the numbers.
    Lines that name no class are left out where no class gets another number by that: one of
    IGNORED in the last line or, as in labelme's files, in front of the background; and a last line
    with the number of void.

    Raises:
        InputError: the file cannot be read, a line elsewhere names no class, or `check_classes`
            refuses the names.
    """
    names = [line.strip(" \t") for line in read_text(path).rstrip(" \t\n").split("\n")]
    if names == [""]:
        raise InputError(f"{path} is empty; it must hold class names, one a line")
    notes, first = [], 0
    if names[0].casefold() in IGNORED and _is_background(names[1:2]):
        notes.append(f"{path.name}: {quoted(names[0])} is left out, as it is no class")
        first, names = 1, names[1:]
    last, rest = names[-1], names[:-1]
    named, number = _is_void(last), _number(last)
    if rest and (named or (number == VOID and _without_numbers(rest))):
        notes.append(
            f"{path.name}: {quoted(last)} is left out, as it is no class; {VOID} is void in masks"
        )
        names = rest
    if unnumbered := _without_numbers(names, 1 if named and number else 2):
        notes.append(f"{path.name}: the number in front of each name is left out")
        names = unnumbered
    lines = {k: f"line {first + k + 1}" for k in range(len(names))}
    for k, name in enumerate(names):
        _check_is_class(name, k, f"{path}, {lines[k]}")
    if _is_background(names[:1]):
        lines = {k: f"line {first + k + 2}" for k in range(len(names))}
        names = names[1:]
    return ClassFile(check_classes(names, str(path), lines), tuple(notes))


def _check_is_class(name: str, index: int, where: str) -> None:
    """Check that a name is no background after the first one, and nothing that is not scored."""
    if index and _is_background([name]):
        raise InputError(
            f"{where}: {quoted(name)} is no class; name it in the first line, or not at all, so "
            "that classes have the numbers of the masks"
        )
    if name.casefold() in IGNORED:
        raise InputError(
            f"{where}: {quoted(name)} is no class; remove the line, and if masks count it, say "
            "with --mask-values what their values stand for"
        )


def _is_background(names: Sequence[str]) -> bool:
    """Return whether the first of some names stands for the background."""
    return bool(names) and names[0].casefold() in BACKGROUND


def _is_void(line: str) -> bool:
    """Return whether a line stands for pixels that are not scored, also with the number of void."""
    match = _NUMBERED.fullmatch(line)
    name = match[2] if match and int(match[1]) == VOID else line
    return name.casefold() in IGNORED


def _number(line: str) -> int | None:
    """Return the number in front of a name, None where there is none."""
    match = _NUMBERED.fullmatch(line)
    return int(match[1]) if match else None


def _without_numbers(lines: Sequence[str], least: int = 2) -> list[str]:
    """Return the names of lines such as "0 background", or no names if lines are not numbered.

    Fewer than `least` lines may have a number as a part of the name.
    """
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) < max(least, len(lines)) or numbers[0] > 1:
        return []
    if numbers != list(range(numbers[0], numbers[0] + len(lines))):
        return []
    return [match[2] for match in matches if match]
