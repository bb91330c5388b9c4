"""Reading of the labels of images from a CSV or .npz file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from .. import npz
from .files import read_text

Labels = Mapping[str, tuple[int, ...]]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file whose header has `id` and `labels` or `labels_cls`.

    Raises:
        InputError: the file is no such CSV file.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path} is not readable CSV: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows")
    for column in ("labels", "labels_cls"):
        if column in rows[0] and "id" in rows[0]:
            return [
                {**{k: v or "" for k, v in r.items() if k}, "labels": r[column] or ""} for r in rows
            ]
    raise InputError(
        f"{path} needs the columns id and labels, it has {', '.join(map(str, rows[0]))}"
    )


def label_names(text: str) -> list[str]:
    """Split a text into class names at spaces, commas and semicolons."""
    return [name for name in re.split(r"[\s,;]+", text) if name]


def class_indices(names: Iterable[str], classes: Sequence[str], where: str) -> tuple[int, ...]:
    """Turn class names into 0-based classes, sorted, each once.

    Args:
        names: class names of one image.
        classes: class names of the data set.
        where: file and image, for messages.

    Raises:
        InputError: a name is no class.
    """
    present = set()
    for name in names:
        if name not in classes:
            raise InputError(f"{where}: label {name!r} is not among {', '.join(classes)}")
        present.add(classes.index(name))
    return tuple(sorted(present))


def read_labels(path: Path, classes: Sequence[str]) -> Labels:
    """Read image labels by id from a CSV file, or from an .npz with `ids` and `labels` `[n,N]`.

    Raises:
        InputError: the file is missing or broken, or its labels do not fit the classes.
    """
    if not path.is_file():
        raise InputError(f"there is no label file {path}")
    if path.suffix == ".csv":
        return {
            r["id"]: class_indices(label_names(r["labels"]), classes, f"{path}, {r['id']}")
            for r in read_csv(path)
        }
    if path.suffix != ".npz":
        raise InputError(
            f"{path} is neither .csv nor .npz; pickled label files (.npy) run code and are refused"
        )
    arrays = npz.read(path, "ids", "labels")
    ids, labels = arrays["ids"], arrays["labels"]
    if ids.ndim != 1 or ids.dtype.kind not in "Uiu" or labels.dtype.kind not in "biuf":
        raise InputError(
            f"{path} has ids of {ids.dtype} {ids.shape} and labels of {labels.dtype}; a list of "
            "names or numbers and an array of numbers are needed"
        )
    if labels.ndim != 2 or labels.shape != (len(ids), len(classes)):
        raise InputError(
            f"{path} has labels of shape {labels.shape}; {len(ids)} ids and {len(classes)} classes "
            f"need {(len(ids), len(classes))}"
        )
    return {
        str(id): tuple(int(k) for k in np.flatnonzero(row))
        for id, row in zip(ids, labels, strict=True)
    }
