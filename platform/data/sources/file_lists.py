"""Helpers for sources made of files: lists, labels, and reading and checking one image."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from .. import npz
from ..images import MAX_PIXELS
from ..readers.image_reader import FileContent, ImageReader
from .source import Item, Record, check_classes, check_id, check_name

Labels = Mapping[str, tuple[int, ...]]
MAX_BYTES = 8 * MAX_PIXELS
"""Largest size of a file that is read at once; no image of MAX_PIXELS has more bytes."""


def check_folder(path: str | Path, what: str) -> Path:
    """Check a folder and return its path.

    Args:
        path: the folder.
        what: what the folder is, for messages.

    Raises:
        InputError: the folder is missing or empty.
    """
    checked = Path(path)
    if not checked.is_dir():
        raise InputError(f"there is no {what} {checked}")
    if not any(checked.iterdir()):
        raise InputError(f"{what} {checked} is empty")
    return checked


def check_size(path: Path) -> None:
    """Check that a file is small enough to be read at once.

    Raises:
        ValueError: the file is over MAX_BYTES.
        OSError: the file is missing.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes; at most {MAX_BYTES} are read")


def read_text(path: Path) -> str:
    """Read the text of a file without its byte order mark.

    Raises:
        InputError: the file cannot be read, is over MAX_BYTES, or is not UTF-8.
    """
    try:
        check_size(path)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not read as UTF-8 text: {error}") from error


def read_list(path: Path) -> list[str]:
    """Read the ids of a list file from the first column of each line.

    Raises:
        InputError: the file is missing or empty, or an id is not allowed or listed twice.
    """
    if not path.is_file():
        raise InputError(f"there is no list {path}")
    ids = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    if not ids:
        raise InputError(f"list {path} is empty")
    seen: set[str] = set()
    for id in ids:
        try:
            check_id(id)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if id in seen:
            raise InputError(f"list {path} names {id} twice")
        seen.add(id)
    return ids


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


def exclusive_subsets(
    lists: Mapping[str, Sequence[str]],
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Divide lists that may overlap into exclusive subsets, see `Source.splits`.

    Args:
        lists: the ids of each list.

    Returns:
        The subset of each id, and the subsets that make up each list.

    Raises:
        InputError: the name of a list cannot be the name of a split.
    """
    for name in lists:
        check_name(name)
    lists_by_id: dict[str, list[str]] = {}
    for name, ids in lists.items():
        for id in ids:
            lists_by_id.setdefault(id, []).append(name)
    subset = {id: "+".join(sorted(names)) for id, names in lists_by_id.items()}
    every = sorted(set(subset.values()))
    return subset, {name: tuple(s for s in every if name in s.split("+")) for name in lists}


def read_image_file(root: Path, name: str, id: str) -> bytes:
    """Read the bytes of a file that belongs to an image.

    Args:
        root: folder of the source.
        name: path of the file below the folder.
        id: image id, for messages.

    Raises:
        InputError: the file cannot be read, or is over MAX_BYTES.
    """
    try:
        check_size(root / name)
        return (root / name).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"image {id} cannot be read: {error}") from error


def load_record(root: Path, item: Item, reader: ImageReader) -> Record:
    """Read one image and its mask and check both.

    Args:
        root: folder of the source.
        item: the image.
        reader: reader of the images and masks of the data set.

    Raises:
        InputError: image or mask are broken, or the mask has another size or an unknown value.
    """
    image, mask = (
        FileContent(str(root / name), read_image_file(root, name, item.id)) if name else None
        for name in (item.image, item.mask)
    )
    assert image
    read = reader.read(image, mask, item.labels)
    return Record(
        id=item.id,
        image=read.image,
        height=read.height,
        width=read.width,
        labels=item.labels,
        mask=read.mask,
        split=item.split,
        notes=read.notes,
    )


def fingerprint(root: Path, settings: Mapping[str, object], items: Sequence[Item]) -> str:
    """Return the SHA-256 of settings, labels, and the files' paths, sizes and times of change."""
    hasher = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for item in items:
        hasher.update(f"{item.id} {item.split} {item.labels}".encode())
        for name in (item.image, item.mask):
            if name:
                stat = (root / name).stat()
                hasher.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return hasher.hexdigest()
