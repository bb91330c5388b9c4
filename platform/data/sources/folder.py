"""The source of a data set in a folder of images, with a CSV file of labels and optional masks.

images/*.jpg, *.jpeg, *.png     labels.csv (id,labels[,split])
masks/*.png, *.mat              classes.txt (names, one a line; background need not be named)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..readers.image_reader import ImageReader
from ..readers.image_tree import IMAGE_SUFFIXES, ImageTree
from . import file_lists
from .source import Item, Record, check_classes, check_id

IMAGES, MASKS = "images", ("masks",)


class Folder:
    """The source of a data set in a folder.

    Args:
        root: the folder. Without a `split` column all images belong to `train`; without
            `classes.txt` the classes are the names in `labels.csv`, sorted.
        orientation: as in `VOC`.
        mask_values: as in `VOC`.
        resize_masks: as in `VOC`.

    Raises:
        InputError: a file is missing, a label is no class, an id is listed twice, or an option is
            wrong.
    """

    name = "folder"

    def __init__(
        self,
        root: str | Path,
        orientation: str | None = None,
        mask_values: tuple[str, ...] = (),
        resize_masks: bool = False,
    ) -> None:
        self.root = file_lists.check_folder(root, "folder")
        file_lists.check_folder(self.root / IMAGES, "image folder")
        path = self.root / "labels.csv"
        if not path.is_file():
            raise InputError(
                f"there is no {path}; make it with the columns id and labels, and split if needed"
            )
        rows = file_lists.read_csv(path)
        named = self.root / "classes.txt"
        self.classes = file_lists.read_classes(named) if named.is_file() else _classes(rows, path)
        self.labels: dict[str, tuple[int, ...]] = {}
        lists: dict[str, list[str]] = {}
        for row in rows:
            try:
                id = check_id(row["id"])
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            if id in self.labels:
                raise InputError(f"{path} names {id} twice")
            names = file_lists.label_names(row["labels"])
            self.labels[id] = file_lists.class_indices(names, self.classes, f"{path}, {id}")
            lists.setdefault(row.get("split") or "train", []).append(id)
        self.subset, self.splits = file_lists.exclusive_subsets(lists)
        self.reader = ImageReader.of_options(self.classes, orientation, mask_values, resize_masks)

    def items(self) -> list[Item]:
        """Return the items of all rows of labels.csv, or raise InputError for a missing image."""
        tree, out = ImageTree(self.root, IMAGES, MASKS), []
        for id, subset in self.subset.items():
            try:
                image = tree.image(id)
            except InputError as error:
                raise InputError(f"labels.csv names {id}, but {error}") from None
            labels, mask = self.labels[id], tree.mask(id)
            out.append(Item(id=id, split=subset, labels=labels, image=image, mask=mask))
        return out

    def load(self, item: Item) -> Record:
        """Read and check one image with its mask."""
        return file_lists.load_record(self.root, item, self.reader)

    def notes(self) -> list[str]:
        """Return sentences on files with unusual names and on files that are not read."""
        return ImageTree(self.root, IMAGES, MASKS).notes(self.subset, usual=IMAGE_SUFFIXES)

    def settings(self) -> dict[str, object]:
        """Return the options of reading images and masks."""
        return self.reader.settings()

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and splits."""
        return file_lists.fingerprint(self.root, self.settings(), self.items())


def _classes(rows: Sequence[Mapping[str, str]], path: Path) -> tuple[str, ...]:
    """Return the class names among the labels of a table, sorted, after a check of each name."""
    first: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        for name in file_lists.label_names(row["labels"]):
            first.setdefault(name, f"row {number}")
    names = sorted(first)
    return check_classes(names, str(path), {k: first[name] for k, name in enumerate(names)})
