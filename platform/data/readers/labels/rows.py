"""The labels of images as a file writes them, before they are matched with classes."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....serialization import quoted
from ..classes.class_names import LONGEST
from ..id_lists import folder_of, image_id

Names: TypeAlias = tuple[str, ...]
Numbers: TypeAlias = NDArray[np.float64]
Cell: TypeAlias = str | Names | Numbers
"""Labels of one image: a text to divide, names, or numbers `[n]` (indices, or 0 and 1)."""


@dataclass(frozen=True)
class Row:
    """The labels of one image in a file.

    Attributes:
        id: image id, or the name of the image's file.
        position: position in the file, such as "line 3", for messages.
        cell: labels.
        split: name of the split, "" for an empty cell; None where the file has no splits.
    """

    id: str
    position: str
    cell: Cell
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """The labels of all images of a file.

    Attributes:
        by_id: the row of each image by its id.
        columns: classes that have a column of 0 and 1, in their order; () for other files.
        vectors: whether numbers are 0 or 1 for each class, and never indices.
        notes: sentences on how the file was read.
    """

    by_id: dict[str, Row]
    columns: tuple[str, ...] = ()
    vectors: bool = False
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, str]:
        """Name of the split by image id, "" for an empty cell, where the file names splits."""
        return {id: row.split for id, row in self.by_id.items() if row.split is not None}

    @property
    def folders(self) -> dict[str, tuple[str, ...]]:
        """Parts of the folder by image id, where the file names an image by its path."""
        folders = ((id, folder_of(row.id)) for id, row in self.by_id.items())
        return {id: folder for id, folder in folders if folder}


def rows_by_id(rows: Sequence[Row], path: Path) -> dict[str, Row]:
    """Return rows by image id.

    Raises:
        InputError: there are no rows, or an id is not allowed or listed twice.
    """
    if not rows:
        raise InputError(f"{path} has no rows")
    out: dict[str, Row] = {}
    for row in rows:
        try:
            id = image_id(row.id)
        except InputError as error:
            raise InputError(f"{path}, {row.position}: {error}") from None
        if id in out:
            raise InputError(f"{path} names {id} twice, again in {row.position}")
        out[id] = row
    return out


def cell_of(value: object, where: str) -> Cell:
    """Return labels from a value of a JSON file or a pickle.

    Args:
        value: a name, an index, a list of names or of numbers, or 0 and 1 by name.
        where: file and image, for messages.

    Raises:
        InputError: the value is something else, or has over LONGEST labels.
    """
    if isinstance(value, dict):
        value = [name for name, present in value.items() if _is_present(name, present, where)]
    if isinstance(value, np.ndarray):
        if value.size == max(value.shape, default=1):
            value = value.ravel()[: LONGEST + 1].tolist()
    elif not isinstance(value, list | tuple):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the labels are an array of several rows, not a list")
    if len(value) > LONGEST:
        raise InputError(f"{where}: over {LONGEST} labels")
    if all(isinstance(part, str) for part in value):
        return tuple(str(part) for part in value)
    if all(isinstance(part, int | float | np.number | np.bool_) for part in value):
        try:
            return np.array([float(part) for part in value], np.float64)
        except OverflowError:
            raise InputError(f"{where}: a number is too large for an index") from None
    raise InputError(f"{where}: {quoted(value)} is neither a list of names nor one of numbers")


def listed(cell: Cell, where: str) -> Cell:
    """Return the labels of a cell whose text is a list in the notation of JSON or Python.

    Raises:
        InputError: the text begins like a list, but is none.
    """
    if not isinstance(cell, str) or not cell.startswith("["):
        return cell
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return cell_of(value, where)
    raise InputError(f'{where}: {quoted(cell)} is no list of labels, such as ["cat", "dog"]')


def _is_present(name: object, present: object, where: str) -> bool:
    if not isinstance(name, str) or present not in (0, 1):
        raise InputError(f"{where}: {quoted(name)} is {quoted(present)}; a class has 0 or 1")
    return bool(present)
