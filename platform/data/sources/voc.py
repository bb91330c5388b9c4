"""The data set PASCAL VOC, read from a VOCdevkit tree with lists, image labels and masks.

Masks come from `SegmentationClass`, or from `SegmentationClassAug` (SBD) for images without
a mask there; they serve evaluation only. Image labels come from annotations or a label file,
never from masks.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from ...errors import InputError
from ..readers.class_files import read_classes
from ..readers.files import check_folder, check_size
from ..readers.id_lists import read_list
from ..readers.label_files import Labels, class_indices, read_labels
from . import record_files
from .source import Item, Record

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
LISTS = ("train", "train_aug", "val")
TEST = "test"
"""Name of the list whose annotations are not public; only the evaluation server has them."""
MASKS = ("SegmentationClass", "SegmentationClassAug")


class VOC:
    """The source of a PASCAL VOC data set.

    Args:
        root: the folder that holds `JPEGImages`, or a VOCdevkit that holds `VOC2012`.
        lists: names of lists in `ImageSets/Segmentation`; by default train, train_aug and val, as
            far as they exist. Masks are optional; images of test alone need no labels either.
        labels: file of image labels, CSV (`id`, `labels`) or .npz (`ids`, `labels`); by default
            `image_labels.csv` of the tree, else its `Annotations`, difficult objects included.

    Raises:
        InputError: the tree, a list or a label file is missing or wrong.
    """

    name = "voc"

    def __init__(
        self, root: str | Path, lists: tuple[str, ...] | None = None, labels: str | None = None
    ) -> None:
        tree = check_folder(root, "VOC folder")
        self.root = tree / "VOC2012" if (tree / "VOC2012").is_dir() else tree
        check_folder(self.root / "JPEGImages", "image folder")
        named = self.root / "classes.txt"
        self.classes = read_classes(named) if named.is_file() else CLASSES
        sets = self.root / "ImageSets" / "Segmentation"
        names = lists or tuple(n for n in LISTS if (sets / f"{n}.txt").is_file())
        if not names:
            raise InputError(f"{sets} holds none of {', '.join(f'{n}.txt' for n in LISTS)}")
        self.lists = {name: read_list(sets / f"{name}.txt") for name in names}
        self.subset, self.splits = record_files.exclusive_subsets(self.lists)
        self.labels = self._labels(labels)

    def _labels(self, given: str | None) -> Labels:
        in_tree = self.root / "image_labels.csv"
        if given or in_tree.is_file():
            path = Path(given) if given else in_tree
            labels = read_labels(path, self.classes)
            return {id: self._labels_of_image(id, labels, path) for id in self.subset}
        return {id: self._annotated(id) for id in self.subset}

    def _labels_of_image(self, id: str, labels: Labels, path: Path) -> tuple[int, ...]:
        """Look up the labels of an image.

        Files of the WSSS community name image 2007_000032 by the number 2007000032.
        """
        for key in (id, id.replace("_", "")):
            if key in labels:
                return labels[key]
        if self.subset[id] == TEST:
            return ()
        raise InputError(f"{path} has no labels of image {id}")

    def _annotated(self, id: str) -> tuple[int, ...]:
        path = self.root / "Annotations" / f"{id}.xml"
        if not path.is_file():
            if self.subset[id] == TEST:
                return ()
            raise InputError(
                f"image {id} has no labels: there is no {path}; give a label file with --labels"
            )
        try:
            check_size(path)
            names = [str(node.text).strip() for node in ET.parse(path).iterfind("object/name")]
        except (ET.ParseError, LookupError, ValueError, OSError) as error:
            raise InputError(f"{path} is not readable XML: {error}") from error
        return class_indices(names, self.classes, str(path))

    def items(self) -> list[Item]:
        """Return the items of all images of the lists, or raise InputError for a missing image."""
        out = []
        for id, subset in self.subset.items():
            image = f"JPEGImages/{id}.jpg"
            if not (self.root / image).is_file():
                lists = ", ".join(name for name, ids in self.lists.items() if id in ids)
                raise InputError(f"list {lists} names {id}, but there is no {self.root / image}")
            masks = (f"{kind}/{id}.png" for kind in MASKS)
            mask = next((m for m in masks if (self.root / m).is_file()), None)
            out.append(Item(id=id, split=subset, labels=self.labels[id], image=image, mask=mask))
        return out

    def load(self, item: Item) -> Record:
        """Read and check one image with its mask."""
        return record_files.load_record(self.root, item, len(self.classes))

    def notes(self) -> list[str]:
        """Return no sentences, because all files are read in one way."""
        return []

    def settings(self) -> dict[str, object]:
        """Return the names of the lists."""
        return {"lists": sorted(self.lists)}

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and lists."""
        return record_files.fingerprint(self.root, self.settings(), self.items())
