"""The source of a data set in a folder of images, with a file of labels and optional masks.

images/*.jpg, *.jpeg, *.png     labels.csv (id,labels[,split])
masks/*.png, *.mat              classes.txt (names, one a line; background need not be named)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ...serialization import quoted
from ..readers.classes.class_files import read_classes
from ..readers.files import IMAGE_SUFFIXES, check_folder
from ..readers.id_lists import ImageLists, Layout, read_lists
from ..readers.image_reader import ImageReader
from ..readers.image_tree import ImageTree
from ..readers.labels.label_files import ImageLabels, check_base, read_labels
from . import record_files
from .source import Item, Record

IMAGES, MASKS = "images", ("masks",)


class Folder:
    """The source of a data set in a folder.

    Args:
        root: the folder. Without `classes.txt` the classes are the names in the label file,
            sorted, or the columns of classes in their order.
        lists: names of lists of images, each NAME.txt in the folder, which become the splits; by
            default the column `split` of the label file names the splits, and without the column
            all images belong to `train`. A list may name masks in a second column.
        labels: file of image labels of any kind that `read_labels` reads; by default `labels.csv`
            of the folder.
        label_base: index of the first class, 0 or 1, in a file of indices (default: 0).
        orientation: as in `VOC`.
        mask_values: as in `VOC`.
        resize_masks: as in `VOC`.

    Raises:
        InputError: a file is missing, a label is no class, an id is listed twice, a split is
            missing, a path leads to another folder, or an option is wrong.
    """

    name = "folder"

    def __init__(
        self,
        root: str | Path,
        lists: Sequence[str] | None = None,
        labels: str | Path | None = None,
        label_base: int | None = None,
        orientation: str | None = None,
        mask_values: Sequence[str] = (),
        resize_masks: bool = False,
    ) -> None:
        self.root = check_folder(root, "folder")
        check_folder(self.root / IMAGES, "image folder")
        path = Path(labels or self.root / "labels.csv")
        if not labels and not path.is_file():
            raise InputError(
                f"there is no {path}; make it with the columns id and labels, and split if needed, "
                "or give a label file with --labels"
            )
        named = self.root / "classes.txt"
        self.label_base = check_base(label_base)
        listed = read_classes(named) if named.is_file() else None
        read = read_labels(path, listed.classes if listed else None, label_base)
        self.classes, self.label_file = read.classes, path.name
        self.list_names = tuple(lists or ())
        self.lists = self._lists(self.list_names, read)
        self.subset, self.splits = record_files.exclusive_subsets(self.lists.ids)
        self._check_folders(read)
        self.labels = record_files.labels_of_images(read, self.subset)
        self.label_notes = (*(listed.notes if listed else ()), *read.notes)
        self.reader = ImageReader.of_options(self.classes, orientation, mask_values, resize_masks)

    def _lists(self, names: Sequence[str], read: ImageLabels) -> ImageLists:
        """Return the images of each split, by lists or by the label file.

        Raises:
            InputError: there are both lists and a column of splits, or a cell of it is empty.
        """
        if names and any(read.splits.values()):
            raise InputError(
                f"{read.path} names splits in a column; leave out --lists, or remove the column"
            )
        if names:
            layout = Layout(root=self.root, images=IMAGES, masks=MASKS)
            return read_lists({name: self.root / f"{name}.txt" for name in names}, layout)
        lists: dict[str, list[str]] = {}
        for id in read.by_id:
            split = read.splits.get(id, "") if read.splits else "train"
            if not split:
                raise InputError(
                    f"{read.path}, {id}: the split is missing; name the split of each image, or "
                    "remove the column, so that all belong to train"
                )
            lists.setdefault(split, []).append(id)
        return ImageLists(ids=lists, images={}, masks={}, notes=())

    def _check_folders(self, read: ImageLabels) -> None:
        """Check that the label file names no image by the path of another folder than is read.

        A path may lead to a folder that does not exist here, such as one on the machine where the
        file was made.

        Raises:
            InputError: a path leads to another folder, below the root or the folder of images.
        """
        folders = {f: ((*f,), (IMAGES, *f)) for f in {*read.folders.values()}}
        exist = {
            f: {place for place in places if os.path.isdir(self.root.joinpath(*place))}
            for f, places in folders.items()
        }
        for id, folder in read.folders.items():
            own = PurePosixPath(self.lists.images.get(id, f"{IMAGES}/{id}")).parent.parts
            inside = {folder} if folder[0] == IMAGES else set()  # a path from the root on
            if id in self.subset and (exist[folder] | inside) - {own}:
                raise InputError(
                    f"{read.path}, {id}: the image is in the folder {quoted('/'.join(folder))}, "
                    f"but {'/'.join(own)} is read; put the image there and name it without a "
                    "folder, or give its path in a list with --lists"
                )

    def items(self) -> list[Item]:
        """Return the items of all images, or raise InputError for a missing image."""
        tree, out = self._tree(), []
        for id, subset in self.subset.items():
            try:
                image = tree.image(id)
            except InputError as error:
                lists = f"list {self.lists.naming(id)}"
                where = lists if self.list_names else self.label_file
                raise InputError(f"{where} names {id}, but {error}") from None
            labels, mask = self.labels[id], tree.mask(id)
            out.append(Item(id=id, split=subset, labels=labels, image=image, mask=mask))
        return out

    def _tree(self) -> ImageTree:
        return ImageTree(self.root, IMAGES, MASKS, self.lists)

    def load(self, item: Item) -> Record:
        """Read and check one image with its mask."""
        return record_files.load_record(self.root, item, self.reader)

    def notes(self) -> list[str]:
        """Return sentences on choices in reading lists, labels and names, and on unread files."""
        tree = self._tree()
        notes = [*self.lists.notes, *self.label_notes]
        if left_out := tree.unlisted(self.subset):
            lists = "no list names" if self.list_names else f"{self.label_file} does not name"
            count = f"{len(left_out)} of the files in {IMAGES}, such as {left_out[0]}"
            notes.append(f"left out, because {lists} them: {count}")
        return [*notes, *tree.notes(self.subset, usual=IMAGE_SUFFIXES)]

    def settings(self) -> dict[str, object]:
        """Return the names of the lists and the label file, and the options of reading files."""
        return {
            "lists": sorted(self.list_names),
            "labels": self.label_file,
            "label_base": self.label_base,
            **self.reader.settings(),
        }

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and splits."""
        return record_files.fingerprint(self.root, self.settings(), self.items())
