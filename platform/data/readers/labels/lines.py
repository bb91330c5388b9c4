"""Reading of lists of labels: an id in front of names or numbers in each line."""

from __future__ import annotations

import re
from pathlib import Path

from ....errors import InputError
from ....serialization import quoted
from ..files import read_text
from . import tables
from .rows import LabelRows, Row, rows_by_id

_LINE = re.compile(r"\s*([^\s,;]+)[\s,;]*(.*)")


def read(path: Path) -> LabelRows:
    """Read lines such as `2007_000032 0 14` or `2007_000032 cat;dog`, or a table with a header.

    Raises:
        InputError: a line has no id, or no line has labels.
    """
    lines = read_text(path).split("\n")
    if tables.find_header(next((line for line in lines if line.strip()), "")):
        return tables.read(path)
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise InputError(f"{path}, line {number}: {quoted(line)} has no image id in front")
        rows.append(Row(match[1], f"line {number}", match[2].strip()))
    if rows and not any(row.cell for row in rows):
        raise InputError(f"{path} has image ids, but no labels; a line is an id and labels")
    return LabelRows(by_id=rows_by_id(rows, path))
