"""Subsets of images in lists, and reading and checking of one image with its mask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..names import check_name
from ..readers.files import read_bytes
from ..readers.image_reader import FileContent, ImageReader
from ..readers.labels.label_files import ImageLabels
from .source import Item, Record

TEST = "test"
"""Name of the split whose labels are not public; only the evaluation server has them."""


def exclusive_subsets(
    lists: Mapping[str, Sequence[str]],
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Divide lists that may overlap into exclusive subsets, see `Source.splits`.

    Args:
        lists: the ids of each list.

    Returns:
        The subset of each id, and the subsets that make up each list.

    Raises:
        InputError: the name of a list cannot be the name of a split.
    """
    for name in lists:
        check_name(name)
    lists_by_id: dict[str, list[str]] = {}
    for name, ids in lists.items():
        for id in ids:
            lists_by_id.setdefault(id, []).append(name)
    subset = {id: "+".join(sorted(names)) for id, names in lists_by_id.items()}
    every = sorted(set(subset.values()))
    return subset, {name: tuple(s for s in every if name in s.split("+")) for name in lists}


def labels_of_images(
    labels: ImageLabels, subset_by_id: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Return the labels of images by id; an image of the split test alone may have none.

    Args:
        labels: labels of images of a file.
        subset_by_id: exclusive subset of each image.

    Raises:
        InputError: the file has no labels of an image.
    """
    out = {}
    for id, subset in subset_by_id.items():
        present = labels.find(id)
        if present is None and subset != TEST:
            example = next(iter(labels.by_id), "")
            raise InputError(
                f"{labels.path} has no labels of image {id}; its first image is {example}"
            )
        out[id] = present or ()
    return out


def load_record(root: Path, item: Item, reader: ImageReader) -> Record:
    """Read one image and its mask and check both.

    Args:
        root: folder of the source.
        item: the image.
        reader: reader of the images and masks of the data set.

    Raises:
        InputError: image or mask are broken, or the mask has another size or an unknown value.
    """
    image, mask = (
        FileContent(str(root / name), read_bytes(root, name, item.id)) if name else None
        for name in (item.image, item.mask)
    )
    assert image
    read = reader.read(image, mask, item.labels)
    return Record(
        id=item.id,
        image=read.image,
        pixels=read.pixels,
        orientation=read.orientation,
        labels=item.labels,
        mask=read.mask,
        split=item.split,
        notes=read.notes,
    )


def fingerprint(root: Path, settings: Mapping[str, object], items: Sequence[Item]) -> str:
    """Return the SHA-256 of settings, labels, and the files' paths, sizes and times of change."""
    hasher = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for item in items:
        hasher.update(f"{item.id} {item.split} {item.labels}".encode())
        for name in (item.image, item.mask):
            if name:
                stat = (root / name).stat()
                hasher.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return hasher.hexdigest()
