"""Reading of the labels of images from a file of any kind that people keep them in.

CSV and TSV tables, lists of names or numbers, `.npz`, `.npy` and `.json` files, and the folder of
VOC's lists of one class; see docs/data-files.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....serialization import quoted
from ...names import check_classes
from ..classes.class_names import ClassNames
from ..classes.derived_classes import Label, derived_classes, is_separated
from . import arrays, class_lists, json_files, lines, numbers, tables
from .rows import Cell, LabelRows, Numbers, listed

READERS: Mapping[str, Callable[[Path], LabelRows]] = {
    ".csv": tables.read,
    ".tsv": tables.read,
    ".txt": lines.read,
    ".npz": arrays.read_npz,
    ".npy": arrays.read_npy,
    ".json": json_files.read,
}
_VOC_ID = re.compile(r"[0-9]{4}_[0-9]{6}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.0+)?")


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """The labels of images in a file.

    Attributes:
        path: the file.
        classes: class names.
        by_id: 0-based classes by image id, sorted, each once.
        splits: name of the split by image id, "" for an empty cell, where the file names splits.
        folders: parts of the folder by image id, where the file names an image by its path.
        notes: sentences on how the file was read.
    """

    path: Path
    classes: tuple[str, ...]
    by_id: Mapping[str, tuple[int, ...]]
    splits: Mapping[str, str]
    folders: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def find(self, id: str) -> tuple[int, ...] | None:
        """Return the labels of an image, or None.

        Files of the WSSS community name image 2007_000032 by the number 2007000032.
        """
        number = id.replace("_", "") if _VOC_ID.fullmatch(id) else id
        return self.by_id.get(id, self.by_id.get(number))


def check_base(base: int | None) -> int | None:
    """Check the index of the first class in files of indices and return it.

    Raises:
        InputError: the index is neither 0 nor 1.
    """
    if base not in (None, 0, 1):
        raise InputError(f"--label-base is {quoted(base)}; it must be 0 or 1")
    return base


def read_labels(
    path: Path, classes: Sequence[str] | None = None, base: int | None = None
) -> ImageLabels:
    """Read the labels of images.

    Args:
        path: a file of one of the kinds in READERS, or a folder of lists of one class.
        classes: class names of the data set; None stands for the names in the file.
        base: index of the first class, 0 or 1, where labels are indices (default: 0).

    Raises:
        InputError: the file is missing or broken, or its labels do not fit the classes.
    """
    if path.is_dir():
        rows = class_lists.read(path)
    elif not path.is_file():
        raise InputError(f"there is no label file {path}")
    elif path.suffix.lower() not in READERS:
        raise InputError(f"{path} is no label file; its suffix must be one of {', '.join(READERS)}")
    else:
        rows = READERS[path.suffix.lower()](path)
    cells = {id: listed(row.cell, f"{path}, {id}") for id, row in rows.by_id.items()}
    values = _numbers(cells, classes or ())
    if values is not None:
        names = _class_names(classes, path)
        by_id, notes = numbers.present_classes(values, names, path, base, rows.vectors)
    elif base is not None:
        raise InputError(f"{path} has names as labels, no indices; leave out --label-base")
    else:
        names, by_id, notes = _match(rows, cells, classes, path)
    return ImageLabels(
        path=path,
        classes=names,
        by_id=by_id,
        splits=rows.splits,
        folders=rows.folders,
        notes=(*rows.notes, *_notes_on_ids(by_id, path), *notes),
    )


def _notes_on_ids(ids: Iterable[str], path: Path) -> list[str]:
    first = next(iter(ids))
    if not all(re.fullmatch("[0-9]{10}", id) for id in ids):
        return []
    return [f"{path.name}: numbers stand for ids, {first} for {first[:4]}_{first[4:]}"]


def _class_names(classes: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    if classes is None:
        raise InputError(
            f"{path} has numbers as labels; list the names of the classes in classes.txt"
        )
    return tuple(classes)


def _numbers(cells: Mapping[str, Cell], classes: Sequence[str]) -> dict[str, Numbers] | None:
    """Return the numbers of each image, or None if labels are names."""
    named_by_number = any(_NUMBER.fullmatch(name) for name in classes)
    out = {}
    for id, cell in cells.items():
        if isinstance(cell, np.ndarray):
            out[id] = cell
            continue
        words = _words(cell) if isinstance(cell, str) else cell
        is_text = isinstance(cell, tuple) or named_by_number
        if words and (is_text or not all(_NUMBER.fullmatch(word) for word in words)):
            return None
        out[id] = np.array([float(word) for word in words], np.float64)
    return out if any(len(row) for row in out.values()) else None


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;|]+", text) if word]


def _match(
    rows: LabelRows, cells: Mapping[str, Cell], classes: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]], list[str]]:
    """Return the class names, the classes of each image by the names in its labels, and notes."""
    texts: dict[str, Label] = {}
    for id, cell in cells.items():
        if not isinstance(cell, np.ndarray):
            texts[id] = cell
        elif len(cell):
            raise InputError(f"{path}, {id}: the labels are numbers, but other labels are names")
        else:
            texts[id] = ()
    names, notes = tuple(classes or ()), []
    if classes is None and rows.columns:
        names = check_classes(rows.columns, str(path))
        notes = [f"{path.name}: classes are in the order of the file"]
    elif classes is None:
        names, notes = derived_classes(texts, path)
    matched = ClassNames(names, is_separated(texts))
    if rows.columns:
        _check_columns(rows.columns, matched, path)
    by_id = {id: matched.indices(text, f"{path}, {id}") for id, text in texts.items()}
    return names, by_id, [*notes, *matched.notes(path.name)]


def _check_columns(columns: Sequence[str], names: ClassNames, path: Path) -> None:
    """Check that a file with 0 and 1 for each class has all classes and nothing else."""
    indices = {column: names.index(column) for column in columns}
    for column, index in indices.items():
        if index is None:
            raise InputError(f"{path} has 0 and 1 for {quoted(column)}, which is no class")
    for name, count in Counter(names.classes[k] for k in indices.values() if k is not None).items():
        if count > 1:
            raise InputError(f"{path} has the class {name} twice, in two spellings")
    missing = [name for k, name in enumerate(names.classes) if k not in indices.values()]
    if missing:
        raise InputError(f"{path} says nothing on the class {missing[0]}; it needs all classes")
