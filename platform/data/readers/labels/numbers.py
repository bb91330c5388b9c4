"""Labels that are numbers: indices of classes, or 0 and 1 for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ....errors import InputError
from .rows import Numbers

Indices: TypeAlias = dict[str, tuple[int, ...]]


def present_classes(
    rows: Mapping[str, Numbers],
    classes: tuple[str, ...],
    path: Path,
    base: int | None = None,
    vectors: bool = False,
) -> tuple[Indices, list[str]]:
    """Return the 0-based classes of each image, and notes.

    Rows of one number for each class, all 0 or 1, are vectors; a first column that is 1 in every
    row is the background. All other rows are lists of indices.

    Args:
        rows: numbers `[n]` by image id.
        classes: class names of the data set.
        path: the file, for messages.
        base: index of the first class, 0 or 1; None stands for 0 and was not chosen by the user.
        vectors: whether the rows cannot be indices.

    Raises:
        InputError: a number is no label of a class, or the rows can be read in two ways.
    """
    vectors = vectors or _are_vectors(rows, len(classes), path, base)
    if not vectors:
        return _from_indices(rows, classes, path, 0 if base is None else base, base is not None)
    if base is not None:
        raise InputError(f"{path} has 0 and 1 for each class, no indices; leave out --label-base")
    return _from_vectors(rows, len(classes), path)


def _are_vectors(rows: Mapping[str, Numbers], classes: int, path: Path, base: int | None) -> bool:
    """Return whether rows hold 0 and 1 for each class.

    A row of indices has no number twice. Where no row has, a chosen base says that the rows are
    indices.

    Raises:
        InputError: the rows may also be indices.
    """
    sizes = {len(row) for row in rows.values()}
    if len(sizes) > 1 or not all(bool(np.isin(row, (0, 1)).all()) for row in rows.values()):
        return False
    if any(len(set(row.tolist())) < len(row) for row in rows.values()):
        return True
    if base is None and sizes <= {classes, classes + 1}:
        raise InputError(
            f"{path}, {next(iter(rows))}: the numbers may be indices of classes or 0 and 1 for "
            "each class; for indices say --label-base 0 or 1, else write the names of classes"
        )
    return False


def _from_vectors(
    rows: Mapping[str, Numbers], classes: int, path: Path
) -> tuple[Indices, list[str]]:
    for id, row in rows.items():
        if len(row) not in (classes, classes + 1):
            raise InputError(
                f"{path}, {id}: the row has {len(row)} numbers; {classes} classes need {classes}"
            )
        odd = row[~np.isin(row, (0, 1))]
        if len(odd):
            raise InputError(f"{path}, {id}: the row holds {odd[0]:g}; a class has 0 or 1")
    sizes = {len(row) for row in rows.values()}
    if len(sizes) > 1:
        id = next(id for id, row in rows.items() if len(row) != classes)
        raise InputError(f"{path}, {id}: the row is longer than other rows; all need {classes}")
    note = f"{path.name}: labels are 0 and 1 for each of {classes} classes"
    if sizes == {classes}:
        return {id: _positions(row) for id, row in rows.items()}, [note]
    for id, row in rows.items():
        if row[0] != 1:
            raise InputError(
                f"{path}, {id}: the row has {classes + 1} numbers for {classes} classes, and the "
                "first is not 1, as it would be for the background; write one number for each class"
            )
    left_out = (
        f"{path.name}: the first of {classes + 1} numbers, 1 for all images, is the background"
    )
    return {id: _positions(row[1:]) for id, row in rows.items()}, [note, left_out]


def _positions(row: Numbers) -> tuple[int, ...]:
    return tuple(np.flatnonzero(row).tolist())


def _from_indices(
    rows: Mapping[str, Numbers], classes: tuple[str, ...], path: Path, base: int, chosen: bool
) -> tuple[Indices, list[str]]:
    """Return the classes of lists of indices, and a note on how they are counted.

    Args:
        rows: indices by image id.
        classes: class names of the data set.
        path: the file, for messages.
        base: index of the first class.
        chosen: whether the user chose the base.
    """
    last = base + len(classes) - 1
    background = base == 1 and len(rows) > 1 and all(0 in row for row in rows.values())
    if not chosen:
        _check_first_index(rows, classes, path)
    seen: set[int] = set()
    out = {}
    for id, row in rows.items():
        where = f"{path}, {id}"
        if (row != np.floor(row)).any() or not np.isfinite(row).all():
            raise InputError(f"{where}: {row.tolist()[:4]} are no indices of classes")
        present = sorted({int(k) for k in row} - ({0} if background else set()))
        if present and not base <= present[0] <= present[-1] <= last:
            raise InputError(_out_of_range(present, where, len(classes), base))
        seen |= set(present)
        out[id] = tuple(k - base for k in present)
    span = f"{base} ({classes[0]}) to {last} ({classes[-1]})"
    notes = [f"{path.name}: labels are indices of classes, {span}"]
    if background:
        notes.append(f"{path.name}: the label 0, which every image has, is the background")
    if not chosen and 0 not in seen:
        notes.append(
            f"{path.name}: no image has the label 0; if the file counts classes from 1, say "
            "--label-base 1"
        )
    return out, notes


def _check_first_index(rows: Mapping[str, Numbers], classes: tuple[str, ...], path: Path) -> None:
    """Raise InputError where every image has the label 0 beside others, as a background has."""
    if len(rows) > 1 and all(0 in row and len(row) > 1 for row in rows.values()):
        raise InputError(
            f"{path}: every image has the label 0; if 0 is the background, say --label-base 1, and "
            f"if it is {classes[0]}, say --label-base 0"
        )


def _out_of_range(present: list[int], where: str, classes: int, base: int) -> str:
    """Return the sentence on an index that is no class."""
    last = base + classes - 1
    index = present[0] if present[0] < base else present[-1]
    text = f"{where}: the label {index} is no index of {classes} classes, {base} to {last}"
    if base == 0 and index == classes:
        return f"{text}; if the file counts classes from 1, say --label-base 1"
    if base == 1 and index == 0:
        return f"{text}; if the file counts classes from 0, leave out --label-base 1"
    return text
