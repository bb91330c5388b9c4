"""Reading of tables of labels: CSV with a column of labels, or with a column for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....serialization import quoted
from ..classes.class_names import BACKGROUND
from ..csv_rows import DELIMITERS, header_cells, read_rows
from ..files import read_text
from .rows import Cell, LabelRows, Row, rows_by_id

IDS = ("id", "image_id", "image", "filename", "file_name", "file")
LABELS = ("labels", "labels_cls", "label", "classes", "class", "tags")
SPLIT = "split"
UNNAMED = ("", "unnamed: 0")
"""Names of a column of row numbers, which pandas writes."""
BITS: Mapping[str, int] = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


@dataclass(frozen=True)
class Header:
    """The columns of a table.

    Attributes:
        delimiter: character between cells.
        columns: names of the columns.
        id: name of the column of ids.
        labels: name of the column of labels; None if each class has a column.
    """

    delimiter: str
    columns: tuple[str, ...]
    id: str
    labels: str | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of classes."""
        if self.labels:
            return ()
        kept = (c for c in self.columns if c.casefold() not in (*UNNAMED, SPLIT))
        return tuple(c for c in kept if c != self.id)


def find_header(line: str) -> Header | None:
    """Return the columns that the first line of a table names, or None for another line."""
    for delimiter in DELIMITERS:
        columns = header_cells(line, delimiter)
        id = _column(columns, IDS)
        header = id and Header(delimiter, columns, id, _column(columns, LABELS))
        if header and (header.labels or header.classes):
            return header
    return None


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of some names."""
    by_name = {column.casefold(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def read(path: Path) -> LabelRows:
    """Read a table whose first line names its columns.

    Raises:
        InputError: the file is no such table.
    """
    text = read_text(path)
    first = text.lstrip("\n").split("\n", 1)[0]
    header = find_header(first)
    if header is None:
        names = ", ".join(name.strip() for name in first.split(",")) or "none"
        raise InputError(
            f"{path} needs the columns id and labels in its first line, which has {quoted(names)}"
        )
    _check_columns(header, path)
    rows = []
    advice = "put labels with commas in quotes"
    for number, cells in read_rows(text, header.delimiter, len(header.columns), path, advice):
        row = dict(zip(header.columns, cells, strict=True))
        split = next((row[c] for c in header.columns if c.casefold() == SPLIT), None)
        cell = row[header.labels] if header.labels else _present(row, header, path, number)
        rows.append(Row(row[header.id], f"line {number}", cell, split))
    return LabelRows(
        by_id=rows_by_id(rows, path),
        columns=() if _numbered(header.classes) else _without_background(header.classes),
        vectors=bool(_numbered(header.classes)),
        notes=_notes(header, path),
    )


def _check_columns(header: Header, path: Path) -> None:
    """Check that no two columns have one name, and that the columns to read are certain.

    Raises:
        InputError: a name stands twice, or several columns may hold ids or labels.
    """
    repeated = [c for c in header.columns if c and header.columns.count(c) > 1]
    if repeated:
        raise InputError(f"{path} has two columns {quoted(repeated[0])}; a column has one name")
    for names in (IDS, LABELS, (SPLIT,)):
        columns = [c for c in header.columns if c.casefold() in names]
        if len(columns) > 1 and names[0] not in columns:
            raise InputError(
                f"{path} has the columns {' and '.join(columns)}; name the one to read {names[0]}"
            )


def _numbered(columns: Sequence[str]) -> bool:
    """Return whether columns of classes are numbered from 0 or from 1, in order."""
    first = columns[0] if columns else ""
    if first not in ("0", "1"):
        return False
    return list(columns) == [str(k) for k in range(int(first), int(first) + len(columns))]


def _without_background(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(c for c in columns if c.casefold() not in BACKGROUND)


def _present(row: Mapping[str, str], header: Header, path: Path, number: int) -> Cell:
    """Return the names of the columns that are 1 in a row, or all numbers of numbered columns."""
    bits = []
    for column in header.classes:
        bit = BITS.get(row[column].casefold())
        if bit is None:
            raise InputError(
                f"{path}, line {number} has {quoted(row[column])} in the column {quoted(column)}; "
                "a table needs a column labels, or columns of 0 and 1, one for each class"
            )
        bits.append(bit)
    if _numbered(header.classes):
        return np.array(bits, np.float64)
    return tuple(c for c, bit in zip(header.classes, bits, strict=True) if bit)


def _notes(header: Header, path: Path) -> tuple[str, ...]:
    out = []
    if header.id != IDS[0]:
        out.append(f"{path.name}: ids are in the column {header.id}")
    if header.labels and header.labels not in LABELS[:2]:
        out.append(f"{path.name}: labels are in the column {header.labels}")
    if not header.labels:
        out.append(f"{path.name}: each class has a column of 0 and 1")
    read = (*UNNAMED, SPLIT, header.id.casefold(), str(header.labels).casefold())
    unread = [quoted(c) for c in header.columns if header.labels and c.casefold() not in read]
    if unread:
        out.append(f"{path.name}: columns that are not read: {', '.join(unread[:8])}")
    return tuple(out)
