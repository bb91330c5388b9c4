"""The data set COCO, read from its instances files and image folders.

Masks are drawn for evaluation by the rule of COCO's own API as the WSSS community uses it: the
polygons of each annotation (pycocotools), in the file's order, later ones over earlier ones;
crowds are background, nothing is void. Image labels are the categories of all annotations, crowds
included. A polygon of fewer than three points encloses nothing.
The index keeps only the position of the bytes of each annotation; the annotation itself is read
again with its image.
"""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..images import decode_image, encode_png
from ..names import check_classes, check_id
from ..readers.files import check_folder, read_bytes
from . import record_files
from .json_stream import read_elements
from .source import Item, Record

SUBSETS = ("train", "val")
MOST_PIXELS_PER_SIDE = 1 << 20
"""Limit, not included, of the height and width of an image, pixels."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The index of one instances file, with n images and m annotations.

    Attributes:
        path: path of the file, below the root.
        folder: path of the folder of images, below the root.
        names: file names of the images, sorted by image number.
        sizes: `[n,2]` height and width of each image.
        first: `[n+1]`; the annotations of image k are `first[k]` to `first[k+1]` - 1, in the
            order of the file.
        category: `[m]` class of each annotation.
        starts: `[m]` position of the first byte of each annotation.
        lengths: `[m]` number of bytes of each annotation.
    """

    path: str
    folder: str
    names: tuple[str, ...]
    sizes: NDArray[np.int32]
    first: NDArray[np.int64]
    category: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]

    def labels(self, k: int) -> tuple[int, ...]:
        """Return the classes of image k, ascending."""
        return tuple(np.unique(self.category[self.first[k] : self.first[k + 1]]).tolist())


class COCO:
    """The source of a COCO data set.

    Args:
        root: folder with `annotations/instances_train2014.json` and `train2014/`, with
            `annotations/instances_val2014.json` and `val2014/`, or with both.
        year: year in the names of the files, such as 2014.
        labelled: leave out images without any label (SIPE, CLIP-ES: 82,081 and 40,137 of 2014);
            else they are included (LPCAM, RIB, MCTformer: 82,783 and 40,504).

    Raises:
        InputError: a file is missing or broken, or its content is contradictory.
    """

    name = "coco"

    def __init__(self, root: str | Path, year: str = "2014", labelled: bool = False) -> None:
        self.root = check_folder(root, "COCO folder")
        self.year, self.labelled = check_id(year), labelled
        self.classes: tuple[str, ...] = ()
        self.indexes: dict[str, Index] = {}
        for subset in SUBSETS:
            path = f"annotations/instances_{subset}{year}.json"
            if (self.root / path).is_file():
                self.indexes[subset] = self._read(path, f"{subset}{year}")
        if not self.indexes:
            raise InputError(f"{self.root} holds no annotations/instances_train{year}.json")
        named: dict[str, tuple[str, ...]] = {
            "train": ("train",),
            "train_aug": ("train",),
            "val": ("val",),
        }
        self.splits = {k: v for k, v in named.items() if v[0] in self.indexes}

    def _read(self, path: str, folder: str) -> Index:
        whole = self.root / path
        check_folder(self.root / folder, "image folder")
        images: dict[int, tuple[str, int, int]] = {}
        categories: dict[int, tuple[object, int]] = {}
        columns = {name: array("q") for name in ("image", "category", "start", "length", "id")}
        for kind, member, start, end in read_elements(
            whole, ("images", "annotations", "categories")
        ):
            try:
                if not isinstance(member, dict):
                    raise TypeError("it is not an object")
                if kind == "images":
                    size = (
                        _number(member["height"], MOST_PIXELS_PER_SIDE),
                        _number(member["width"], MOST_PIXELS_PER_SIDE),
                    )
                    row = (check_id(member["file_name"]), *size)
                    if images.setdefault(_number(member["id"]), row) is not row:
                        raise InputError(f"image {member['id']} is listed twice")
                elif kind == "categories":
                    named = (member["name"], start)
                    if categories.setdefault(_number(member["id"]), named) is not named:
                        raise InputError(f"category {member['id']} is listed twice")
                else:
                    image, category = _number(member["image_id"]), _number(member["category_id"])
                    number = _number(member["id"]) if "id" in member else -1
                    values = (image, category, start, end - start, number)
                    for column, value in zip(columns.values(), values, strict=True):
                        column.append(value)
            except InputError as error:
                raise InputError(f"{whole}, {kind} at byte {start}: {error}") from None
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{whole}, {kind} at byte {start}: {error!r}") from None
        return self._index(path, folder, images, categories, columns)

    def _index(
        self,
        path: str,
        folder: str,
        images: dict[int, tuple[str, int, int]],
        categories: dict[int, tuple[object, int]],
        columns: dict[str, array[int]],
    ) -> Index:
        whole = self.root / path
        listed_classes = [categories[c] for c in sorted(categories)]
        classes = check_classes(
            [name for name, _ in listed_classes],
            str(whole),
            {k: f"categories at byte {start}" for k, (_, start) in enumerate(listed_classes)},
        )
        if self.classes and classes != self.classes:
            raise InputError(f"{whole} has other categories than the file of train")
        self.classes = classes
        image, category, start, length, number = (np.array(c, np.int64) for c in columns.values())
        _check_once(number, start, whole)
        ids, known = np.array(sorted(images), np.int64), np.array(sorted(categories), np.int64)
        for values, allowed, what in ((image, ids, "image"), (category, known, "category")):
            unknown = values[~np.isin(values, allowed)]
            if len(unknown):
                raise InputError(f"{whole} annotates {what} {unknown[0]}, which it does not list")
        order = np.argsort(image, kind="stable")
        listed = [images[k] for k in ids.tolist()]
        return Index(
            path=path,
            folder=folder,
            names=tuple(name for name, _, _ in listed),
            sizes=np.array([size for _, *size in listed], np.int32).reshape(-1, 2),
            first=np.searchsorted(image[order], np.append(ids, np.iinfo(np.int64).max)),
            category=np.searchsorted(known, category[order]).astype(np.uint8),
            starts=start[order],
            lengths=length[order].astype(np.int32),
        )

    def items(self) -> list[Item]:
        """Return the items of all images by image number, or raise InputError for a missing one."""
        out, seen = [], set()
        for subset, index in self.indexes.items():
            for k, name in enumerate(index.names):
                labels = index.labels(k)
                if self.labelled and not labels:
                    continue
                image = f"{index.folder}/{name}"
                if not (self.root / image).is_file():
                    raise InputError(f"{index.path} lists {name}, but there is no {image}")
                id = check_id(Path(name).stem)
                if id in seen:
                    raise InputError(f"{index.path} lists {id} twice, or train and val both do")
                seen.add(id)
                out.append(Item(id=id, split=subset, labels=labels, image=image, row=k))
        return out

    def load(self, item: Item) -> Record:
        """Read one image and draw its mask."""
        index = self.indexes[item.split]
        path = self.root / item.image
        data = read_bytes(self.root, item.image, item.id)
        height, width = decode_image(data, str(path)).shape[:2]
        listed = tuple(index.sizes[item.row].tolist())
        if listed != (height, width):
            raise InputError(f"{path} is {width}x{height} pixels, {index.path} says {listed[::-1]}")
        return Record(
            id=item.id,
            image=data,
            height=height,
            width=width,
            labels=item.labels,
            mask=encode_png(self._mask(index, item.row, height, width)),
            split=item.split,
        )

    def _mask(self, index: Index, k: int, height: int, width: int) -> NDArray[np.uint8]:
        out = np.zeros((height, width), np.uint8)
        with (self.root / index.path).open("rb") as stream:
            for m in range(index.first[k], index.first[k + 1]):
                stream.seek(index.starts[m])
                data = stream.read(index.lengths[m])
                try:
                    annotation = json.loads(data)
                    if not annotation.get("iscrowd", 0):
                        drawn = segmentation_mask(annotation["segmentation"], height, width)
                        out[drawn] = index.category[m] + 1
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    where = f"{index.path}, annotation at byte {index.starts[m]}"
                    raise InputError(f"{where}: {error}") from None
        return out

    def notes(self) -> list[str]:
        """Return no sentences, because all files are read in one way."""
        return []

    def settings(self) -> dict[str, object]:
        """Return the year and whether images without labels are left out."""
        return {"year": self.year, "labelled": self.labelled}

    def fingerprint(self) -> str:
        """Return a hash of the settings, the instances files, the images and their labels."""
        file_stats = [(self.root / index.path).stat() for index in self.indexes.values()]
        stats = [[s.st_size, s.st_mtime_ns] for s in file_stats]
        return record_files.fingerprint(
            self.root, {**self.settings(), "files": stats}, self.items()
        )


def _check_once(ids: NDArray[np.int64], starts: NDArray[np.int64], path: Path) -> None:
    """Raise InputError where two annotations have one id; -1 stands for an absent id."""
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero((np.diff(ids[order]) == 0) & (ids[order][1:] >= 0))
    if len(again):
        k = order[again[0] + 1]
        raise InputError(f"{path}, annotations at byte {starts[k]}: {ids[k]} is listed twice")


def _number(value: object, top: int = 1 << 62) -> int:
    """Return a value that is a whole number from 0 to below `top`.

    Raises:
        ValueError: the value is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < top:
        raise ValueError(f"{str(value)[:40]!r} is no whole number from 0 to {top}")
    return value


def segmentation_mask(segmentation: object, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels `[H,W]` that a segmentation covers.

    Args:
        segmentation: polygons `[x, y, x, y, ...]`, or uncompressed run lengths.
        height: H.
        width: W.

    Raises:
        ValueError: the segmentation is neither, or goes far beyond the image.
    """
    from pycocotools import mask as api

    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError("its segmentation is neither polygons nor run lengths")
    reach = 2 * max(height, width)
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError("a polygon is no list of x, y, x, y, ...")
        points = [float(v) for v in polygon]
        if not all(math.isfinite(v) and abs(v) <= reach for v in points):
            raise ValueError(f"a polygon leaves the {width}x{height} image")
        if len(points) >= 6:
            polygons.append(points)
    if not polygons:
        return np.zeros((height, width), np.bool_)
    runs = api.frPyObjects(polygons, height, width)
    drawn: NDArray[np.bool_] = api.decode(api.merge(runs)).astype(np.bool_)
    return drawn


def _decode_runs(runs: dict[str, object], height: int, width: int) -> NDArray[np.bool_]:
    """Decode run lengths down the columns, the first a run of 0."""
    counts = runs["counts"]
    if not isinstance(counts, list) or runs["size"] != [height, width]:
        raise ValueError("run lengths are no list of counts, or do not have the image's size")
    if any(not isinstance(c, int) or c < 0 for c in counts) or sum(counts) != height * width:
        raise ValueError("run lengths do not add up to the number of pixels of the image")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(width, height).T
