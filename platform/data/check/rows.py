"""The rows of the table of a check: one for all images, one for each split and for each class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .counts import Counts
from .dataset_check import DatasetCheck

HEAD = ("images", "masks", "label without pixel", "pixel without label", "pixels %", "void %")
"""Titles of the columns after the name of a row."""
ALL_IMAGES = "all images"


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One row of the table of a check.

    Attributes:
        kind: whether the row is about all images, a split or a class.
        name: name of the split or class.
        images: number of images; for a class, images with its label.
        masks: number of masks; for a class, masks with a pixel of it.
        without_pixel: images with a mask and a label of which the mask has no pixel.
        without_label: labelled images whose mask has pixels of a class that is no label; for a
            class, images without its label whose mask has pixels of it.
        pixels: share of the classes, or of the class, among all pixels of masks, 0 to 1; None
            without masks.
        void: share of void, 0 to 1; None without masks and for a class.
    """

    kind: Literal["all", "split", "class"]
    name: str
    images: int
    masks: int
    without_pixel: int
    without_label: int
    pixels: float | None
    void: float | None


def rows_of(check: DatasetCheck) -> Iterator[CheckRow]:
    """Yield a row on all images, then on each split, then on each class."""
    yield _row_of_counts("all", ALL_IMAGES, check.whole)
    for split, counts in check.splits.items():
        yield _row_of_counts("split", split, counts)
    whole = check.whole
    for k, name in enumerate(check.classes):
        yield CheckRow(
            kind="class",
            name=name,
            images=whole.labelled[k],
            masks=whole.shown[k],
            without_pixel=whole.class_without_pixel[k],
            without_label=whole.class_without_label[k],
            pixels=whole.share_of_pixels(k + 1) if whole.masked else None,
            void=None,
        )


def _row_of_counts(kind: Literal["all", "split"], name: str, counts: Counts) -> CheckRow:
    classes = len(counts.labelled)
    foreground = sum(counts.share_of_pixels(value + 1) for value in range(classes))
    return CheckRow(
        kind=kind,
        name=name,
        images=counts.images,
        masks=counts.masked,
        without_pixel=counts.without_pixel,
        without_label=counts.without_label,
        pixels=foreground if counts.masked else None,
        void=counts.void_share if counts.masked else None,
    )
