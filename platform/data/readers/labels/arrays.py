"""Reading of labels in NumPy files: arrays, and pickled dicts as IRN and SIPE keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....errors import InputError
from ....serialization import quoted
from ... import npz
from .. import safe_pickle
from .rows import LabelRows, Row, cell_of, rows_by_id


def read_npz(path: Path) -> LabelRows:
    """Read an `.npz` file with `ids` and `labels` `[n,N]` of 0 and 1.

    Raises:
        InputError: the file is damaged, or its arrays have other shapes or types.
    """
    arrays = npz.read(path, "ids", "labels")
    ids, labels = arrays["ids"], arrays["labels"]
    if ids.ndim != 1 or ids.dtype.kind not in "Uiu" or labels.dtype.kind not in "biuf":
        raise InputError(
            f"{path} has ids of {ids.dtype} {ids.shape} and labels of {labels.dtype}; a list of "
            "names or numbers and an array of numbers are needed"
        )
    if labels.ndim != 2 or len(labels) != len(ids):
        raise InputError(
            f"{path} has labels of shape {labels.shape}; {len(ids)} ids need {len(ids)} rows with "
            "one number for each class"
        )
    rows = [
        Row(str(id), f"row {number}", row)
        for number, (id, row) in enumerate(zip(ids, labels.astype(np.float64), strict=True), 1)
    ]
    return LabelRows(by_id=rows_by_id(rows, path), vectors=True)


def read_npy(path: Path) -> LabelRows:
    """Read a pickled dict from image ids, texts or numbers, to labels of one image.

    No code of the file runs, see `safe_pickle`.

    Raises:
        InputError: the pickle calls something that is not allowed, or holds no such dict.
    """
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        kind = f"{content.dtype} {content.shape}" if isinstance(content, np.ndarray) else "no dict"
        raise InputError(
            f"{path} holds {kind}, not labels by image id; save a dict, or an .npz file with ids "
            "and labels"
        )
    rows = []
    for number, (key, value) in enumerate(content.items(), 1):
        if not isinstance(key, str | int | np.integer) or isinstance(key, bool):
            raise InputError(f"{path}, entry {number}: {quoted(key)} is no image id")
        rows.append(Row(str(key), f"entry {number}", cell_of(value, f"{path}, {quoted(key)}")))
    return LabelRows(by_id=rows_by_id(rows, path), vectors=_are_floats(content))


def _are_floats(content: dict[object, object]) -> bool:
    """Return whether all labels are arrays of a type that no index has."""
    return all(isinstance(v, np.ndarray) and v.dtype.kind in "bf" for v in content.values())
