"""The index of an annotation file: positions of the annotations of each image, and its labels."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from .contents import NO_CATEGORY, Contents

NO_CLASS = 255
"""Class of an annotation whose category is no class."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The index of one annotation file, with n images and m annotations.

    A panoptic annotation counts as often as it has segments, and once without segments.

    Attributes:
        path: path of the file, below the root where it lies there.
        paths: paths of the images below the folder of images.
        sizes: `[n,2]` height and width of each image, -1 where the file gives none.
        first: `[n+1]`; the annotations of image k are `first[k]` to `first[k+1]` - 1, in the
            order of the file.
        category: `[m]` class of each annotation, or NO_CLASS.
        starts: `[m]` position of the first byte of each annotation.
        lengths: `[m]` number of bytes of each annotation.
        segment_files: path of the PNG file of each image's panoptic annotation, below the root
            where it lies there, or "" for an image without; empty for outlines.
    """

    path: str
    paths: tuple[str, ...]
    sizes: NDArray[np.int32]
    first: NDArray[np.int64]
    category: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    segment_files: tuple[str, ...]

    def labels(self, k: int) -> tuple[int, ...]:
        """Return the classes of image k, ascending."""
        present = np.unique(self.category[self.first[k] : self.first[k + 1]])
        return tuple(present[present != NO_CLASS].tolist())

    def annotations(self, root: Path, k: int) -> Iterator[tuple[dict[str, object], list[int], str]]:
        """Read the annotations of image k.

        Args:
            root: folder of the source.
            k: number of the image in the index.

        Yields:
            An annotation; its class, or the class of each segment; and its position, for messages.

        Raises:
            InputError: the file has changed since it was indexed.
        """
        rows = range(self.first[k], self.first[k + 1])
        with (root / self.path).open("rb") as stream:
            for start, group in itertools.groupby(rows, lambda m: int(self.starts[m])):
                where, same = f"{self.path}, annotation at byte {start}", list(group)
                stream.seek(start)
                try:
                    annotation = json.loads(stream.read(self.lengths[same[0]]))
                except ValueError as error:
                    raise InputError(f"{where}: {error}") from None
                if not isinstance(annotation, dict):
                    raise InputError(f"{where}: it is not an object")
                yield annotation, self.category[same].tolist(), where


def make_index(contents: Contents, path: str, class_numbers: Sequence[int]) -> Index:
    """Return the index of an annotation file.

    Images are in the order of their ids, or in the order of the file where an id is no number.

    Args:
        contents: contents of the file.
        path: path of the file, below the root where it lies there.
        class_numbers: numbers of the categories that are classes, in the order of the classes.
    """
    ids = list(contents.images) if contents.images_by_text else sorted(contents.images)
    listed = [contents.images[id] for id in ids]
    rank = _positions(np.array(ids, np.int64), np.array(contents.image, np.int64))
    order = np.argsort(rank, kind="stable")
    numbers = [NO_CATEGORY, *contents.categories]
    class_by_number = {number: k for k, number in enumerate(class_numbers)}
    classes = np.array([class_by_number.get(n, NO_CLASS) for n in numbers], np.uint8)
    rows = _positions(np.array(numbers, np.int64), np.array(contents.category, np.int64))
    return Index(
        path=path,
        paths=tuple(name for name, _, _ in listed),
        sizes=np.array([size for _, *size in listed], np.int32).reshape(-1, 2),
        first=np.searchsorted(rank[order], np.arange(len(ids) + 1)),
        category=classes[rows[order]],
        starts=np.array(contents.start, np.int64)[order],
        lengths=np.array(contents.length, np.int64)[order].astype(np.int32),
        segment_files=_segment_files(contents, path, ids),
    )


def _segment_files(contents: Contents, path: str, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the paths of the PNG files of images, which lie in a folder called like the file."""
    if not contents.panoptic:
        return ()
    folder, files = PurePosixPath(path).with_suffix(""), contents.segment_files
    return tuple(str(folder / files[id]) if id in files else "" for id in ids)


def _positions(listed: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each value in a list of different values."""
    order = np.argsort(listed)
    return order[np.searchsorted(listed[order], values)]
