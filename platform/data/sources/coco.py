"""COCO: instances files and image folders, e.g. of 2014.

Masks are drawn for evaluation by the rule of COCO's own API as the WSSS community uses it: the
polygons of each annotation (pycocotools), in the file's order, later ones over earlier ones;
crowds are background, nothing is void. Image labels are the categories of all annotations, crowds
included. A polygon of fewer than three points encloses nothing.
An annotation is known by where its bytes lie in the file; it is read again when its image is.
"""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..images import decode_image, encode_png
from . import file_lists
from .json_stream import objects
from .source import Item, Record, check_classes, check_id

PARTS = ("train", "val")
SIDE = 1 << 20
"""More pixels a side are refused."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """What is known of one instances file, as arrays.

    Attributes:
        path: of the file; folder: of its images, both below the root.
        names: file names of the images, which are sorted by their number.
        sizes: `[n,2]` height and width.
        first: `[n+1]`; the annotations of image k are `first[k]` to `first[k+1]`, in the order
            of the file.
        category: `[m]` class of each annotation; starts, lengths: `[m]` of its bytes.
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
        """The classes of image k, ascending."""
        return tuple(np.unique(self.category[self.first[k] : self.first[k + 1]]).tolist())


class COCO:
    """A COCO source.

    Args:
        root: holds `annotations/instances_train2014.json` and `train2014/`; val likewise. One of
            both will do.
        year: 2014, or another that the files are named by.
        labelled: leave out images without any label (SIPE, CLIP-ES: 82,081 and 40,137 of 2014);
            else they are kept (LPCAM, RIB, MCTformer: 82,783 and 40,504).

    Raises:
        InputError: a file is missing, broken, or says what cannot be.
    """

    name = "coco"

    def __init__(self, root: str | Path, year: str = "2014", labelled: bool = False) -> None:
        self.root = file_lists.folder(root, "COCO folder")
        self.year, self.labelled = check_id(year), labelled
        self.classes: tuple[str, ...] = ()
        self.parts: dict[str, Index] = {}
        for part in PARTS:
            path = f"annotations/instances_{part}{year}.json"
            if (self.root / path).is_file():
                self.parts[part] = self._read(path, f"{part}{year}")
        if not self.parts:
            raise InputError(f"{self.root} holds no annotations/instances_train{year}.json")
        named: dict[str, tuple[str, ...]] = {
            "train": ("train",),
            "train_aug": ("train",),
            "val": ("val",),
        }
        self.splits = {k: v for k, v in named.items() if v[0] in self.parts}

    def _read(self, path: str, folder: str) -> Index:
        whole = self.root / path
        file_lists.folder(self.root / folder, "image folder")
        images: dict[int, tuple[str, int, int]] = {}
        categories: dict[int, tuple[Any, int]] = {}
        columns = {name: array("q") for name in ("image", "category", "start", "length", "id")}
        for kind, found, start, end in objects(whole, ("images", "annotations", "categories")):
            try:
                if kind == "images":
                    size = (_number(found["height"], SIDE), _number(found["width"], SIDE))
                    row = (check_id(found["file_name"]), *size)
                    if images.setdefault(_number(found["id"]), row) is not row:
                        raise InputError(f"image {found['id']} is listed twice")
                elif kind == "categories":
                    named = (found["name"], start)
                    if categories.setdefault(_number(found["id"]), named) is not named:
                        raise InputError(f"category {found['id']} is listed twice")
                else:
                    image, category = _number(found["image_id"]), _number(found["category_id"])
                    own = _number(found["id"]) if "id" in found else -1
                    values = (image, category, start, end - start, own)
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
        categories: dict[int, tuple[Any, int]],
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
        image, category, start, length, own = (np.array(c, np.int64) for c in columns.values())
        _check_once(own, start, whole)
        ids, known = np.array(sorted(images), np.int64), np.array(sorted(categories), np.int64)
        for values, there, what in ((image, ids, "image"), (category, known, "category")):
            strange = values[~np.isin(values, there)]
            if len(strange):
                raise InputError(f"{whole} annotates {what} {strange[0]}, which it does not list")
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
        """All images, by their number; raises InputError where one is absent."""
        out, seen = [], set()
        for part, index in self.parts.items():
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
                out.append(Item(id=id, split=part, labels=labels, image=image, row=k))
        return out

    def load(self, item: Item) -> Record:
        """Reads one image and draws its mask."""
        index = self.parts[item.split]
        path = self.root / item.image
        data = file_lists.read(self.root, item.image, item.id)
        height, width = decode_image(data, str(path)).shape[:2]
        said = tuple(index.sizes[item.row].tolist())
        if said != (height, width):
            raise InputError(f"{path} is {width}x{height} pixels, {index.path} says {said[::-1]}")
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
                    found = json.loads(data)
                    if not found.get("iscrowd", 0):
                        drawn = outline(found["segmentation"], height, width)
                        out[drawn] = index.category[m] + 1
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    where = f"{index.path}, annotation at byte {index.starts[m]}"
                    raise InputError(f"{where}: {error}") from None
        return out

    def settings(self) -> dict[str, object]:
        """Which files, and whether images without labels count."""
        return {"year": self.year, "labelled": self.labelled}

    def fingerprint(self) -> str:
        """Changes with any file or label."""
        of_files = [(self.root / index.path).stat() for index in self.parts.values()]
        stats = [[s.st_size, s.st_mtime_ns] for s in of_files]
        return file_lists.fingerprint(self.root, {**self.settings(), "files": stats}, self.items())


def _check_once(ids: NDArray[np.int64], starts: NDArray[np.int64], path: Path) -> None:
    """Raises InputError where two annotations have one id; -1 stands for none."""
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero((np.diff(ids[order]) == 0) & (ids[order][1:] >= 0))
    if len(again):
        k = order[again[0] + 1]
        raise InputError(f"{path}, annotations at byte {starts[k]}: {ids[k]} is listed twice")


def _number(value: Any, top: int = 1 << 62) -> int:
    """A whole number, not negative.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < top:
        raise ValueError(f"{str(value)[:40]!r} is no number from 0 to {top}")
    return value


def outline(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """`[H,W]`: what a segmentation covers: polygons `[x, y, x, y, ...]`, or an uncompressed RLE.

    Raises:
        ValueError: it is neither, or goes far beyond the image.
    """
    from pycocotools import mask as api

    if isinstance(segmentation, dict):
        return _decoded(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError("its segmentation is neither polygons nor run lengths")
    reach = 2 * max(height, width)
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError("a polygon is not x, y, x, y, ...")
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


def _decoded(runs: dict[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """Run lengths down the columns, first of 0."""
    counts = runs["counts"]
    if not isinstance(counts, list) or list(runs["size"]) != [height, width]:
        raise ValueError("run lengths are a list of counts of the image's size")
    if any(not isinstance(c, int) or c < 0 for c in counts) or sum(counts) != height * width:
        raise ValueError("run lengths do not add up to the image")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(width, height).T
