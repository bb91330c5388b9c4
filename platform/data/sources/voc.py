"""The data set PASCAL VOC, read from a VOCdevkit tree with lists, image labels and masks.

Masks come from `SegmentationClass`, or for images without a mask there from SBD's masks in
`SegmentationClassAug` or `cls`; they serve evaluation only. Image labels come from annotations or
a label file, never from masks.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from ...errors import InputError
from ..readers.image_reader import ImageReader
from ..readers.image_tree import ImageTree
from . import file_lists
from .source import Item, Record

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
LISTS = ("train", "train_aug", "val")
TEST = "test"
"""Name of the list whose annotations are not public; only the evaluation server has them."""
IMAGES = "JPEGImages"
MASKS = ("SegmentationClass", "SegmentationClassAug", "cls")


class VOC:
    """The source of a PASCAL VOC data set.

    Args:
        root: the folder that holds `JPEGImages`, or a VOCdevkit that holds `VOC2012`.
        lists: names of lists in `ImageSets/Segmentation`; by default train, train_aug and val, as
            far as they exist. Masks are optional; images of test alone need no labels either.
        labels: file of image labels, CSV (`id`, `labels`) or .npz (`ids`, `labels`); by default
            `image_labels.csv` of the tree, else its `Annotations`, difficult objects included.
        orientation: whether masks follow pictures as "stored" or with their EXIF orientation
            "applied", which turns the pictures; by default the size of each mask must tell.
        mask_values: what the values or colours of masks stand for, VALUE=CLASS each, or the path
            of a .csv or .json file; by default classes count from 1 and 255 is void.
        resize_masks: whether a mask of another size is scaled to its image's size.

    Raises:
        InputError: the tree, a list, a label file or an option is missing or wrong.
    """

    name = "voc"

    def __init__(
        self,
        root: str | Path,
        lists: tuple[str, ...] | None = None,
        labels: str | None = None,
        orientation: str | None = None,
        mask_values: tuple[str, ...] = (),
        resize_masks: bool = False,
    ) -> None:
        tree = file_lists.check_folder(root, "VOC folder")
        self.root = tree / "VOC2012" if (tree / "VOC2012").is_dir() else tree
        file_lists.check_folder(self.root / IMAGES, "image folder")
        named = self.root / "classes.txt"
        self.classes = file_lists.read_classes(named) if named.is_file() else CLASSES
        sets = self.root / "ImageSets" / "Segmentation"
        names = lists or tuple(n for n in LISTS if (sets / f"{n}.txt").is_file())
        if not names:
            raise InputError(f"{sets} holds none of {', '.join(f'{n}.txt' for n in LISTS)}")
        self.lists = {name: file_lists.read_list(sets / f"{name}.txt") for name in names}
        self.subset, self.splits = file_lists.exclusive_subsets(self.lists)
        self.labels = self._labels(labels)
        self.reader = ImageReader.of_options(self.classes, orientation, mask_values, resize_masks)

    def _labels(self, given: str | None) -> file_lists.Labels:
        in_tree = self.root / "image_labels.csv"
        if given or in_tree.is_file():
            path = Path(given) if given else in_tree
            labels = file_lists.read_labels(path, self.classes)
            return {id: self._labels_of_image(id, labels, path) for id in self.subset}
        return {id: self._annotated(id) for id in self.subset}

    def _labels_of_image(self, id: str, labels: file_lists.Labels, path: Path) -> tuple[int, ...]:
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
            file_lists.check_size(path)
            names = [str(node.text).strip() for node in ET.parse(path).iterfind("object/name")]
        except (ET.ParseError, LookupError, ValueError, OSError) as error:
            raise InputError(f"{path} is not readable XML: {error}") from error
        return file_lists.class_indices(names, self.classes, str(path))

    def items(self) -> list[Item]:
        """Return the items of all images of the lists, or raise InputError for a missing image."""
        tree, out = ImageTree(self.root, IMAGES, MASKS), []
        for id, subset in self.subset.items():
            try:
                image = tree.image(id)
            except InputError as error:
                lists = ", ".join(name for name, ids in self.lists.items() if id in ids)
                raise InputError(f"list {lists} names {id}, but {error}") from None
            labels, mask = self.labels[id], tree.mask(id)
            out.append(Item(id=id, split=subset, labels=labels, image=image, mask=mask))
        return out

    def load(self, item: Item) -> Record:
        """Read and check one image with its mask."""
        return file_lists.load_record(self.root, item, self.reader)

    def notes(self) -> list[str]:
        """Return sentences on files with unusual names and on files that are not read."""
        return ImageTree(self.root, IMAGES, MASKS).notes(self.subset, usual=(".jpg",))

    def settings(self) -> dict[str, object]:
        """Return the names of the lists, and the options of reading images and masks."""
        return {"lists": sorted(self.lists), **self.reader.settings()}

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and lists."""
        return file_lists.fingerprint(self.root, self.settings(), self.items())
