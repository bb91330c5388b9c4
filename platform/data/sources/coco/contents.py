"""Reading of an annotation file into columns, element by element, in bounded memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....serialization import quoted
from ..json_stream import read_elements
from .segmentations import Form, form_of, has_pixels
from .values import id_number, image_id, relative_path, whole_number

MOST_PIXELS_PER_SIDE = 1 << 20
"""Limit, not included, of the height and width of an image, pixels."""
NO_SIZE = (-1, -1)
"""Height and width of an image whose size the file does not give."""
CROWD = (1, "1")
"""Values of `iscrowd` that mark a crowd."""
NO_CATEGORY = -1
"""Category of the row of a panoptic annotation without segments."""


@dataclass(frozen=True)
class Category:
    """A category as the file lists it, with the position of its first byte."""

    name: object
    supercategory: object
    isthing: object
    start: int


@dataclass
class Contents:
    """The contents of an annotation file.

    Attributes:
        path: path of the file.
        images: path below the folder of images, height and width of each image by image number,
            in the order of the file.
        categories: categories by number, in the order of the file.
        image, category: numbers of the image and the category of each annotation; of a panoptic
            annotation there is one row for each segment, or one with NO_CATEGORY.
        start, length: position of the first byte and number of bytes of each annotation.
        id: number of each annotation, -1 for an annotation without id.
        images_by_text, categories_by_text, ids_by_text: numbers of the ids that are texts.
        forms: number of annotations with each form of segmentation.
        crowds: number of annotations, or segments, with `iscrowd` 1.
        segment_files: path of the PNG file of each panoptic annotation below the folder of these
            files, by image number.
        panoptic: whether annotations are panoptic; None if there is no annotation.
        partial: number of images in which not all objects are annotated (LVIS).
        in_pixels: whether a coordinate of a polygon is over 1; None if there is no polygon.
    """

    path: Path
    images: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    categories: dict[int, Category] = field(default_factory=dict)
    image: array[int] = field(default_factory=lambda: array("q"))
    category: array[int] = field(default_factory=lambda: array("q"))
    start: array[int] = field(default_factory=lambda: array("q"))
    length: array[int] = field(default_factory=lambda: array("q"))
    id: array[int] = field(default_factory=lambda: array("q"))
    images_by_text: dict[str, int] = field(default_factory=dict)
    categories_by_text: dict[str, int] = field(default_factory=dict)
    ids_by_text: dict[str, int] = field(default_factory=dict)
    forms: Counter[Form] = field(default_factory=Counter)
    crowds: int = 0
    segment_files: dict[int, str] = field(default_factory=dict)
    panoptic: bool | None = None
    partial: int = 0
    in_pixels: bool | None = None

    def add_image(self, member: dict[str, object], start: int, end: int) -> None:
        """Add an image.

        Raises:
            InputError, ValueError, KeyError: a value is missing, wrong or listed before.
        """
        number = id_number(member["id"], self.images_by_text)
        path = _image_path(member)
        image_id(path)
        sides = [member.get(name) for name in ("height", "width")]
        size = NO_SIZE
        if sides != [None, None]:
            height, width = (whole_number(side, MOST_PIXELS_PER_SIDE) for side in sides)
            size = height, width
        row = (path, *size)
        if self.images.setdefault(number, row) is not row:
            raise InputError(f"image {quoted(member['id'])} is listed twice")
        self.partial += bool(member.get("not_exhaustive_category_ids"))

    def add_category(self, member: dict[str, object], start: int, end: int) -> None:
        """Add a category.

        Raises:
            InputError, ValueError, KeyError: a value is missing, wrong or listed before.
        """
        row = Category(member["name"], member.get("supercategory"), member.get("isthing"), start)
        number = id_number(member["id"], self.categories_by_text)
        if self.categories.setdefault(number, row) is not row:
            raise InputError(f"category {quoted(member['id'])} is listed twice")

    def add_annotation(self, member: dict[str, object], start: int, end: int) -> None:
        """Add an annotation.

        Raises:
            InputError, ValueError, KeyError: a value is missing or wrong.
        """
        segments = member.get("segments_info")
        if self.panoptic not in (None, segments is not None):
            raise InputError(
                "some annotations have segments_info and some have none; give all annotations "
                "segments_info, or none"
            )
        self.panoptic = segments is not None
        image = id_number(member["image_id"], self.images_by_text)
        id = member.get("id")
        number = -1 if id is None else id_number(id, self.ids_by_text)
        if segments is None:
            categories = [id_number(member["category_id"], self.categories_by_text)]
            self._count_form(member.get("segmentation"))
            self.crowds += member.get("iscrowd") in CROWD
        else:
            categories = self._segment_categories(segments)
            if image in self.segment_files:
                raise InputError("its image has a panoptic annotation before; keep one of them")
            self.segment_files[image] = relative_path(member.get("file_name"))
        for category in categories:
            self.image.append(image)
            self.category.append(category)
            self.start.append(start)
            self.length.append(end - start)
            self.id.append(number if segments is None else -1)

    def _count_form(self, segmentation: object) -> None:
        form = form_of(segmentation)
        self.forms[form] += 1
        if not self.in_pixels and form in ("polygons", "flat", "points"):
            self.in_pixels = has_pixels(segmentation)

    def _segment_categories(self, segments: object) -> list[int]:
        if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
            raise ValueError("segments_info is no list of objects")
        numbers = [id_number(s["category_id"], self.categories_by_text) for s in segments]
        self.crowds += sum(s.get("iscrowd") in CROWD for s in segments)
        return numbers or [NO_CATEGORY]


def _image_path(member: dict[str, object]) -> str:
    """Return the path of an image below the folder of images.

    LVIS gives an address such as http://images.cocodataset.org/train2017/000000000009.jpg in place
    of a file name; its last two parts are the path.

    Raises:
        KeyError, ValueError: the name is missing or not allowed.
    """
    url = member.get("coco_url")
    if "file_name" in member or not isinstance(url, str):
        return relative_path(member["file_name"])
    return relative_path("/".join(url.split("/")[-2:]))


def read_contents(path: Path) -> Contents:
    """Read an annotation file.

    Raises:
        InputError: the file is missing or broken, or its contents are contradictory.
    """
    contents = Contents(path)
    add: dict[str, Callable[[dict[str, object], int, int], None]] = {
        "images": contents.add_image,
        "annotations": contents.add_annotation,
        "categories": contents.add_category,
    }
    for kind, member, start, end in read_elements(path, add):
        where = f"{path}, {kind} at byte {start}"
        try:
            if not isinstance(member, dict):
                raise ValueError("it is not an object")
            add[kind](member, start, end)
        except KeyError as error:
            raise InputError(f"{where}: the key {error} is missing") from None
        except (InputError, ValueError) as error:
            raise InputError(f"{where}: {error}") from None
    _check(contents)
    return contents


def _check(contents: Contents) -> None:
    """Check that the contents fit together.

    Raises:
        InputError: there are no categories, two annotations have one id, an annotation names an
            image or a category that the file does not list, or the polygons are not in pixels.
    """
    path = contents.path
    if not contents.categories:
        raise InputError(
            f"{path} lists no categories; an annotation file has images, annotations and categories"
        )
    starts, numbers = np.array(contents.start, np.int64), np.array(contents.id, np.int64)
    order = np.argsort(numbers, kind="stable")
    again = np.flatnonzero((np.diff(numbers[order]) == 0) & (numbers[order][1:] >= 0))
    if len(again):
        k = order[again[0] + 1]
        id = text_of(int(numbers[k]), contents.ids_by_text)
        raise InputError(f"{path}, annotations at byte {starts[k]}: the id {id} is listed twice")
    for what, column, listed, by_text in (
        ("image", contents.image, contents.images, contents.images_by_text),
        ("category", contents.category, contents.categories, contents.categories_by_text),
    ):
        values = np.array(column, np.int64)
        allowed = np.array([*listed, *([NO_CATEGORY] if what == "category" else [])], np.int64)
        unknown = np.flatnonzero(~np.isin(values, allowed))
        if len(unknown):
            k = unknown[0]
            raise InputError(
                f"{path}, annotations at byte {starts[k]}: {what}_id is "
                f"{text_of(int(values[k]), by_text)}, and the file lists no such {what}"
            )
    if contents.in_pixels is False:
        raise InputError(
            f"{path} has polygons whose coordinates are all from 0 to 1; write them in pixels"
        )


def text_of(number: int, number_by_text: dict[str, int]) -> str:
    """Return the id that a number stands for, see `id_number`, as a message quotes it."""
    text = next((text for text, value in number_by_text.items() if value == number), None)
    return str(number) if text is None else quoted(text)
