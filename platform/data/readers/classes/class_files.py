"""Reading of files of class names."""

from __future__ import annotations

from pathlib import Path

from ....errors import InputError
from ...names import check_classes
from ..files import read_text


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one a line, without a first line `background` and empty lines at the end.

    Raises:
        InputError: the file cannot be read, or `check_classes` refuses the names.
    """
    names = [line.strip(" \t") for line in read_text(path).rstrip(" \t\n").split("\n")]
    first = int(names[0] == "background")
    if names == [""]:
        raise InputError(f"{path} is empty; it must hold class names, one a line")
    lines = {k: f"line {first + k + 1}" for k in range(len(names))}
    return check_classes(names[first:], str(path), lines)
