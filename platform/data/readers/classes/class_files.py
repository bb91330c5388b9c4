"""Reading of files of class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ...names import check_classes
from ..files import read_text
from .class_names import BACKGROUND


@dataclass(frozen=True)
class ClassFile:
    """The class names of a file, and sentences on how the file was read."""

    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_classes(path: Path) -> ClassFile:
    """Read class names, one a line, without a first line `background` and empty lines at the end.

    Names with their numbers in front, from 0 or from 1 in order, are read without the numbers.

    Raises:
        InputError: the file cannot be read, or `check_classes` refuses the names.
    """
    names = [line.strip(" \t") for line in read_text(path).rstrip(" \t\n").split("\n")]
    if names == [""]:
        raise InputError(f"{path} is empty; it must hold class names, one a line")
    unnumbered = _without_numbers(names)
    notes = [f"{path.name}: the number in front of each name is left out"] if unnumbered else []
    names = unnumbered or names
    first = int(names[0].casefold() in BACKGROUND)
    lines = {k: f"line {first + k + 1}" for k in range(len(names))}
    return ClassFile(check_classes(names[first:], str(path), lines), tuple(notes))


def _without_numbers(lines: Sequence[str]) -> list[str]:
    """Return the names of lines such as "0 background", or no names if lines are not numbered."""
    matches = [re.fullmatch(r"([0-9]{1,3})[ \t:,.;]+(\S.*)", line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) < max(2, len(lines)) or numbers[0] > 1:
        return []
    if numbers != list(range(numbers[0], numbers[0] + len(lines))):
        return []
    return [match[2] for match in matches if match]
