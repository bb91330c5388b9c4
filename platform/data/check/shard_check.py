"""The check of some images of one subset, which adds up to the check of a whole data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..readers.image_files import UPRIGHT
from ..sources.source import Record
from .counts import Counts, counts_of, sum_of_counts
from .duplicates import HashedImage, pixel_hash

EXAMPLES = 4
"""Largest number of example images of a class."""


@dataclass(frozen=True, order=True)
class Example:
    """An image that shows a class, by its position in the shards.

    Attributes:
        unmasked: whether the mask has no pixel of the class, or is missing.
        file: name of the shard.
        row: number of the image in the shard.
        id: image id.
    """

    unmasked: bool
    file: str
    row: int
    id: str


Examples = tuple[tuple[Example, ...], ...]
T = TypeVar("T", Example, str)


@dataclass(frozen=True, kw_only=True)
class Mismatches:
    """First ids, in the order of the alphabet, of images whose labels and masks differ, by class.

    Attributes:
        without_pixel: images with the label whose mask has no pixel of the class.
        without_label: images without the label whose mask has a pixel of the class.
    """

    without_pixel: tuple[tuple[str, ...], ...]
    without_label: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ShardCheck:
    """The check of some images; checks add up in any order.

    Attributes:
        counts: counts over the images.
        sizes: number of images of each size, "HEIGHTxWIDTH".
        largest: pixels and id of the largest image; (0, "") without images.
        examples: by class, images that show it, those in the first shards first.
        mismatches: ids of images whose labels and masks differ.
        images: id, subset and hash of each image.
    """

    counts: Counts
    sizes: dict[str, int] = field(default_factory=dict)
    largest: tuple[int, str] = (0, "")
    examples: Examples
    mismatches: Mismatches
    images: tuple[HashedImage, ...] = ()


def check_of_record(record: Record, classes: int, place: tuple[str, int]) -> ShardCheck:
    """Return the check of one record.

    Args:
        record: the record.
        classes: number of classes.
        place: name of the shard that holds the image, and the image's number in the shard.
    """
    id, (height, width) = record.id, record.pixels.shape[:2]
    turned = record.orientation != UPRIGHT
    counts = counts_of(id, record.labels, record.mask, classes, turned=turned)

    def ids(numbers: Sequence[int]) -> tuple[tuple[str, ...], ...]:
        return tuple((id,) * number for number in numbers)

    examples = (
        (Example(not shown, *place, id),) if shown or label else ()
        for shown, label in zip(counts.shown, counts.labelled, strict=True)
    )
    return ShardCheck(
        counts=counts,
        sizes={f"{height}x{width}": 1},
        largest=(height * width, id),
        examples=tuple(examples),
        mismatches=Mismatches(
            without_pixel=ids(counts.class_without_pixel),
            without_label=ids(counts.class_without_label),
        ),
        images=(HashedImage(id, record.split, pixel_hash(record.pixels)),),
    )


def sum_of_checks(checks: Sequence[ShardCheck], classes: int) -> ShardCheck:
    """Return the sum of checks of a data set with a number of classes."""
    sizes: Counter[str] = Counter()
    for check in checks:
        sizes.update(check.sizes)
    images = [image for check in checks for image in check.images]
    return ShardCheck(
        counts=sum_of_counts([check.counts for check in checks], classes),
        sizes=dict(sorted(sizes.items())),
        largest=max((check.largest for check in checks), default=(0, "")),
        examples=_first([check.examples for check in checks], classes),
        mismatches=Mismatches(
            without_pixel=_first([check.mismatches.without_pixel for check in checks], classes),
            without_label=_first([check.mismatches.without_label for check in checks], classes),
        ),
        images=tuple(sorted(images, key=lambda image: (image.subset, image.id))),
    )


def _first(by_check: Sequence[Sequence[Sequence[T]]], classes: int) -> tuple[tuple[T, ...], ...]:
    """Return the first members of each class in sorted order, from those of each check by class."""
    members: list[list[T]] = [[] for _ in range(classes)]
    for by_class in by_check:
        for of_class, added in zip(members, by_class, strict=True):
            if added:
                of_class.extend(added)
    return tuple(tuple(sorted(of_class)[:EXAMPLES]) for of_class in members)
