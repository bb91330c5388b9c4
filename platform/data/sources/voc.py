"""The data set PASCAL VOC, read from a VOCdevkit tree with lists, image labels and masks.

Masks come from `SegmentationClass`, or for images without a mask there from SBD's masks in
`SegmentationClassAug` or `cls`; they serve evaluation only. Image labels come from annotations or
a label file, never from masks.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..readers.classes.class_files import ClassFile, read_classes
from ..readers.classes.class_names import ClassNames
from ..readers.files import check_folder, check_size
from ..readers.id_lists import Layout, read_lists
from ..readers.image_reader import ImageReader
from ..readers.image_tree import ImageTree
from ..readers.labels.label_files import check_base, read_labels
from . import record_files
from .source import Item, Record

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
Labels = Mapping[str, tuple[int, ...]]
LISTS = ("train", "train_aug", "val")
IMAGES = "JPEGImages"
MASKS = ("SegmentationClass", "SegmentationClassAug", "cls")


class VOC:
    """The source of a PASCAL VOC data set.

    Args:
        root: the folder that holds `JPEGImages`, or a VOCdevkit that holds `VOC2012`.
        lists: names of lists in `ImageSets/Segmentation`; by default train, train_aug and val, as
            far as they exist. A list may name masks in a second column. Masks are optional; images
            of test alone need no labels either.
        labels: file of image labels of any kind that `read_labels` reads; by default
            `image_labels.csv` of the tree, else its `Annotations`, difficult objects included.
        label_base: index of the first class, 0 or 1, in a file of indices (default: 0).
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
        lists: Sequence[str] | None = None,
        labels: str | Path | None = None,
        label_base: int | None = None,
        orientation: str | None = None,
        mask_values: Sequence[str] = (),
        resize_masks: bool = False,
    ) -> None:
        tree = check_folder(root, "VOC folder")
        self.root = tree / "VOC2012" if (tree / "VOC2012").is_dir() else tree
        check_folder(self.root / IMAGES, "image folder")
        named = self.root / "classes.txt"
        listed = read_classes(named) if named.is_file() else ClassFile(CLASSES)
        self.classes, self.class_notes = listed.classes, listed.notes
        sets = self.root / "ImageSets" / "Segmentation"
        names = lists or tuple(n for n in LISTS if (sets / f"{n}.txt").is_file())
        if not names:
            raise InputError(f"{sets} holds none of {', '.join(f'{n}.txt' for n in LISTS)}")
        self.lists = read_lists(
            {name: sets / f"{name}.txt" for name in names},
            Layout(root=self.root, images=IMAGES, masks=MASKS),
        )
        self.subset, self.splits = record_files.exclusive_subsets(self.lists.ids)
        self.label_base, self.label_file = check_base(label_base), "Annotations"
        self.labels, self.label_notes = self._labels(labels)
        self.reader = ImageReader.of_options(self.classes, orientation, mask_values, resize_masks)

    def _labels(self, given: str | Path | None) -> tuple[Labels, list[str]]:
        """Return the labels of all images, and sentences on how they were read."""
        in_tree = self.root / "image_labels.csv"
        if given or in_tree.is_file():
            read = read_labels(Path(given or in_tree), self.classes, self.label_base)
            self.label_file = read.path.name
            return record_files.labels_of_images(read, self.subset), list(read.notes)
        if self.label_base is not None:
            raise InputError("--label-base counts the labels of a file; name one with --labels")
        names = ClassNames(self.classes)
        labels = {id: self._annotated(id, names) for id in self.subset}
        return labels, names.notes("Annotations")

    def _annotated(self, id: str, names: ClassNames) -> tuple[int, ...]:
        path = self.root / "Annotations" / f"{id}.xml"
        if not path.is_file():
            if self.subset[id] == record_files.TEST:
                return ()
            raise InputError(
                f"image {id} has no labels: there is no {path}; give a label file with --labels"
            )
        try:
            check_size(path)
            objects = [str(node.text).strip() for node in ET.parse(path).iterfind("object/name")]
        except (ET.ParseError, LookupError, ValueError, OSError) as error:
            raise InputError(f"{path} is not readable XML: {error}") from error
        return names.indices(objects, str(path))

    def items(self) -> list[Item]:
        """Return the items of all images of the lists, or raise InputError for a missing image."""
        tree, out = self._tree(), []
        for id, subset in self.subset.items():
            try:
                image = tree.image(id)
            except InputError as error:
                raise InputError(f"list {self.lists.naming(id)} names {id}, but {error}") from None
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
        files = self._tree().notes(self.subset, usual=(".jpg",))
        return [*self.class_notes, *self.lists.notes, *self.label_notes, *files]

    def settings(self) -> dict[str, object]:
        """Return the names of the lists and the label file, and the options of reading files."""
        return {
            "lists": sorted(self.lists.ids),
            "labels": self.label_file,
            "label_base": self.label_base,
            **self.reader.settings(),
        }

    def fingerprint(self) -> str:
        """Return a hash of all files, labels and lists."""
        return record_files.fingerprint(self.root, self.settings(), self.items())
