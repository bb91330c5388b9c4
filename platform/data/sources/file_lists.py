"""What sources made of files share: lists, labels, loading and checking one image."""

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
from ..images import MAX_PIXELS, check_mask, decode_image, decode_mask
from .source import Item, Record, check_classes, check_id, check_name

Labels = Mapping[str, tuple[int, ...]]
MAX_BYTES = 8 * MAX_PIXELS
"""Of a file that is read at once; an image of MAX_PIXELS has no more, even without compression."""


def folder(path: str | Path, what: str) -> Path:
    """The folder at `path`.

    Raises:
        InputError: it is missing or empty.
    """
    found = Path(path)
    if not found.is_dir():
        raise InputError(f"there is no {what} {found}")
    if not any(found.iterdir()):
        raise InputError(f"{what} {found} is empty")
    return found


def check_size(path: Path) -> None:
    """Looks whether a file may be read at once.

    Raises:
        ValueError: it is over MAX_BYTES.
        OSError: there is none.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes; at most {MAX_BYTES} are read")


def read_text(path: Path) -> str:
    """The text of a file, a byte order mark left out.

    Raises:
        InputError: it cannot be read, is over MAX_BYTES, or is not UTF-8.
    """
    try:
        check_size(path)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not read as UTF-8 text: {error}") from error


def read_list(path: Path) -> list[str]:
    """The ids of a list file, one a line, first column.

    Raises:
        InputError: it is missing or empty, or an id is not allowed or stands there twice.
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
    """Class names, one a line; a first line `background` and empty lines at the end are dropped.

    Raises:
        InputError: it cannot be read, or `check_classes` refuses the names.
    """
    names = [line.strip(" \t") for line in read_text(path).rstrip(" \t\n").split("\n")]
    first = int(names[0] == "background")
    if names == [""]:
        raise InputError(f"{path} is empty; it must hold class names, one a line")
    places = {k: f"line {first + k + 1}" for k in range(len(names))}
    return check_classes(names[first:], str(path), places)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header that has `id` and `labels` or `labels_cls`.

    Raises:
        InputError: it is no such file.
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
    """Class names separated by spaces, commas or semicolons."""
    return [name for name in re.split(r"[\s,;]+", text) if name]


def indices(names: Iterable[str], classes: Sequence[str], where: str) -> tuple[int, ...]:
    """0-based classes by name, sorted, each once.

    Raises:
        InputError: a name is not a class; `where` says which file and image.
    """
    found = set()
    for name in names:
        if name not in classes:
            raise InputError(f"{where}: label {name!r} is not among {', '.join(classes)}")
        found.add(classes.index(name))
    return tuple(sorted(found))


def labels_of(path: Path, classes: Sequence[str]) -> Labels:
    """Image labels by id from a CSV file, or from an .npz with `ids` and `labels` `[n,N]`."""
    if not path.is_file():
        raise InputError(f"there is no label file {path}")
    if path.suffix == ".csv":
        return {
            r["id"]: indices(label_names(r["labels"]), classes, f"{path}, {r['id']}")
            for r in read_csv(path)
        }
    if path.suffix != ".npz":
        raise InputError(
            f"{path} is neither .csv nor .npz; pickled label files (.npy) run code and are refused"
        )
    found = npz.read(path, "ids", "labels")
    ids, labels = found["ids"], found["labels"]
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


def parts(lists: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The exclusive part of each id, and the parts that make up each list.

    Raises:
        InputError: a list has a name that no split can have.
    """
    for name in lists:
        check_name(name)
    of: dict[str, list[str]] = {}
    for name, ids in lists.items():
        for id in ids:
            of.setdefault(id, []).append(name)
    part = {id: "+".join(sorted(names)) for id, names in of.items()}
    found = sorted(set(part.values()))
    return part, {name: tuple(p for p in found if name in p.split("+")) for name in lists}


def read(root: Path, name: str, id: str) -> bytes:
    """The bytes of a file of an image.

    Raises:
        InputError: it cannot be read.
    """
    try:
        check_size(root / name)
        return (root / name).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{id}: {error}") from error


def load(root: Path, item: Item, classes: int) -> Record:
    """Reads one image and its mask and checks them.

    Raises:
        InputError: either is broken, or the mask is of another size or holds a strange value.
    """
    path = root / item.image
    image = read(root, item.image, item.id)
    mask = read(root, item.mask, item.id) if item.mask else None
    height, width = decode_image(image, str(path)).shape[:2]
    if mask is not None:
        name = str(root / str(item.mask))
        check_mask(decode_mask(mask, name), (height, width), classes, name)
    return Record(
        id=item.id,
        image=image,
        height=height,
        width=width,
        labels=item.labels,
        mask=mask,
        split=item.split,
    )


def fingerprint(root: Path, settings: Mapping[str, object], items: Sequence[Item]) -> str:
    """SHA-256 of settings, labels, and the files' paths, sizes and times of change."""
    hasher = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for item in items:
        hasher.update(f"{item.id} {item.split} {item.labels}".encode())
        for name in (item.image, item.mask):
            if name:
                stat = (root / name).stat()
                hasher.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return hasher.hexdigest()
