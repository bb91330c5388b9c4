"""The source of a data set in a folder of images, with a CSV file of labels and optional masks.

images/*.jpg, *.jpeg, *.png     labels.csv (id,labels[,split])
masks/*.png                     classes.txt (names, one a line; background need not be named)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..names import check_classes, check_id
from ..readers.class_files import read_classes
from ..readers.files import check_folder
from ..readers.label_files import class_indices, label_names, read_csv
from . import record_files
from .source import Item, Record

SUFFIXES = (".jpg", ".jpeg", ".png")


class Folder:
    """The source of a data set in a folder.

    Args:
        root: the folder. Without a `split` column all images belong to `train`; without
            `classes.txt` the classes are the names in `labels.csv`, sorted.

    Raises:
        InputError: a file is missing, a label is no class, or an id is listed twice.
    """

    name = "folder"

    def __init__(self, root: str | Path) -> None:
        self.root = check_folder(root, "folder")
        check_folder(self.root / "images", "image folder")
        path = self.root / "labels.csv"
        if not path.is_file():
            raise InputError(
                f"there is no {path}; make it with the columns id and labels, and split if needed"
            )
        rows = read_csv(path)
        named = self.root / "classes.txt"
        self.classes = read_classes(named) if named.is_file() else _classes(rows, path)
        self.labels: dict[str, tuple[int, ...]] = {}
        lists: dict[str, list[str]] = {}
        for row in rows:
            try:
                id = check_id(row["id"])
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            if id in self.labels:
                raise InputError(f"{path} names {id} twice")
            names = label_names(row["labels"])
            self.labels[id] = class_indices(names, self.classes, f"{path}, {id}")
            lists.setdefault(row.get("split") or "train", []).append(id)
        self.subset, self.splits = record_files.exclusive_subsets(lists)

    def items(self) -> list[Item]:
        """Return the items of all rows of labels.csv, or raise InputError for a missing image."""
        out = []
        for id, subset in self.subset.items():
            names = (f"images/{id}{suffix}" for suffix in SUFFIXES)
            image = next((n for n in names if (self.root / n).is_file()), None)
            if image is None:
                raise InputError(
                    f"labels.csv names {id}, but {self.root / 'images'} has no such image "
                    f"({', '.join(SUFFIXES)})"
                )
            mask = f"masks/{id}.png" if (self.root / "masks" / f"{id}.png").is_file() else None
            out.append(Item(id=id, split=subset, labels=self.labels[id], image=image, mask=mask))
        return out

    def load(self, item: Item) -> Record:
        """Read and check one image with its mask."""
        return record_files.load_record(self.root, item, len(self.classes))

    def notes(self) -> list[str]:
        """Return no sentences, because all files are read in one way."""
        return []

    def settings(self) -> dict[str, object]:
        """Return no settings, because the content depends on the files alone."""
        return {}

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and splits."""
        return record_files.fingerprint(self.root, self.settings(), self.items())


def _classes(rows: Sequence[Mapping[str, str]], path: Path) -> tuple[str, ...]:
    """Return the class names among the labels of a table, sorted, after a check of each name."""
    first: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        for name in label_names(row["labels"]):
            first.setdefault(name, f"row {number}")
    names = sorted(first)
    return check_classes(names, str(path), {k: first[name] for k, name in enumerate(names)})
