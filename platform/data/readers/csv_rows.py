"""Reading of the rows of tables whose cells are divided by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ...errors import InputError

DELIMITERS = ",;\t"


def header_cells(text: str, delimiter: str) -> tuple[str, ...]:
    """Return the cells of the first line of a table, without blanks and empty cells at the end.

    Args:
        text: the table, or its first line.
        delimiter: character between cells.

    Returns:
        The cells; none for an empty line, or one that is no CSV.
    """
    try:
        line = text.lstrip("\n").split("\n", 1)[0]
        names = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return ()
    cells = [name.strip() for name in names]
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def read_rows(
    text: str, delimiter: str, columns: int, path: Path, advice: str
) -> list[tuple[int, list[str]]]:
    """Return the line and the cells, without blanks around them, of each row after the header.

    Args:
        text: the table.
        delimiter: character between cells.
        columns: number of columns.
        path: the file, for messages.
        advice: what to do where a row has more or fewer cells, for the message.

    Raises:
        InputError: the text is no CSV, or a row has more or fewer cells than there are columns.
    """
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    out = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            while len(stripped) > columns and not stripped[-1]:
                stripped.pop()
            if any(stripped):
                out.append((reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(f"{path} is not readable CSV: {error}") from error
    for number, cells in out:
        if len(cells) != columns:
            raise InputError(
                f"{path}, line {number} has {len(cells)} cells, but there are {columns} columns; "
                f"{advice}"
            )
    return out[1:]
