"""Counts over the images of a data set, which add up in any order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...labels import VOID
from .value_maps import AS_IS, explanations, is_white

NAMED = 5
"""Largest number of ids that are kept as examples of each kind."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts over images with their labels and masks.

    Attributes:
        images: number of images.
        unlabelled: images without a label.
        masked: images with a mask.
        comparable: images with a label and a mask.
        without_pixel: comparable images whose mask has no pixel of one of their labels.
        without_label: comparable images whose mask has pixels of a class that is no label.
        disjoint: comparable images whose mask has no pixel of any label.
        unlabelled_shown: images without a label whose mask has pixels of a class.
        white: images whose mask has 255 and no value but 0 beside it.
        turned: images with an EXIF orientation other than upright.
        explained: by name of a table of `value_maps`, images with a label and a mask that agree
            with the table's values.
        labelled: images with the label, by class.
        shown: images whose mask has a pixel of the class, by class.
        class_without_pixel: images with the label whose mask has no pixel of the class, by class.
        class_without_label: images without the label whose mask has a pixel of it, by class.
        pixels: pixels of all masks, by value 0 to 255.
        first_unmasked: the first ids of images without a mask, in the order of the alphabet.
        first_turned: the first ids of turned images.
    """

    images: int = 0
    unlabelled: int = 0
    masked: int = 0
    comparable: int = 0
    without_pixel: int = 0
    without_label: int = 0
    disjoint: int = 0
    unlabelled_shown: int = 0
    white: int = 0
    turned: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    labelled: tuple[int, ...]
    shown: tuple[int, ...]
    class_without_pixel: tuple[int, ...]
    class_without_label: tuple[int, ...]
    pixels: tuple[int, ...] = (0,) * 256
    first_unmasked: tuple[str, ...] = ()
    first_turned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pixels) != 256:
            raise ValueError("counts of pixels are not by value 0 to 255")

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Return the counts over no image of a data set with a number of classes."""
        zeros = (0,) * classes
        return cls(
            labelled=zeros, shown=zeros, class_without_pixel=zeros, class_without_label=zeros
        )

    @property
    def agreeing(self) -> int:
        """Images with a label and a mask that show the same classes."""
        return self.explained.get(AS_IS, 0)

    @property
    def void_share(self) -> float:
        """Share of void among the pixels of all masks, 0 to 1; 0 without masks."""
        return self.share_of_pixels(VOID)

    def share_of_pixels(self, value: int) -> float:
        """Return the share of a value among the pixels of all masks, 0 to 1; 0 without masks."""
        total = sum(self.pixels)
        return self.pixels[value] / total if total else 0.0


def sum_of_counts(counts: Sequence[Counts], classes: int) -> Counts:
    """Return the sum of counts over images of a data set with a number of classes."""
    if not counts:
        return Counts.none(classes)
    names = [field.name for field in dataclasses.fields(Counts)]
    sums: dict[str, Any] = {name: _sum([getattr(c, name) for c in counts]) for name in names}
    return Counts(**sums)


def _sum(values: Sequence[Any]) -> Any:
    """Return the sum of numbers, tables or tuples of numbers, or beginnings of sorted ids."""
    if isinstance(values[0], int):
        return sum(values)
    if isinstance(values[0], dict):
        table: Counter[str] = Counter()
        for value in values:
            table.update(value)
        return dict(sorted(table.items()))
    members = [member for value in values for member in value]
    if not members or isinstance(members[0], str):
        return tuple(sorted(members)[:NAMED])
    return tuple(np.sum(np.array(values, np.int64), 0).tolist())


def counts_of(
    id: str,
    labels: Sequence[int],
    mask: NDArray[np.uint8] | None,
    classes: int,
    turned: bool = False,
) -> Counts:
    """Return the counts over one image.

    Args:
        id: image id.
        labels: 0-based classes of the image, each once.
        mask: values `[H,W]`: 0 for background, class + 1, 255 for void; None without a mask.
        classes: number of classes.
        turned: whether the image has an EXIF orientation other than upright.
    """
    labelled = np.zeros(classes, np.bool_)
    labelled[[*labels]] = True
    known = _counts_of_labels(labelled, mask, tuple(labels))
    return Counts(
        images=1,
        unlabelled=int(not labels),
        turned=int(turned),
        labelled=_numbers(labelled),
        first_turned=(id,) if turned else (),
        first_unmasked=(id,) if mask is None else (),
        **known,
    )


def _counts_of_labels(
    labelled: NDArray[np.bool_], mask: NDArray[np.uint8] | None, labels: tuple[int, ...]
) -> dict[str, Any]:
    """Return the counts that compare the mask of an image with its labels.

    Args:
        labelled: bool `[N]`, whether the image has the label.
        mask: values `[H,W]`.
        labels: the labels as classes.
    """
    classes = len(labelled)
    if mask is None:
        fields = ("shown", "class_without_pixel", "class_without_label")
        return dict.fromkeys(fields, (0,) * classes)
    values = np.bincount(mask.ravel(), minlength=256)
    shown = values[1 : classes + 1] > 0
    missing, extra = labelled & ~shown, shown & ~labelled
    names = explanations(values, labels, classes) if labels else set()
    return {
        "masked": 1,
        "comparable": int(bool(labels)),
        "without_pixel": int(missing.any()),
        "without_label": int(bool(labels) and bool(extra.any())),
        "disjoint": int(bool(labels) and not (labelled & shown).any()),
        "unlabelled_shown": int(not labels and bool(shown.any())),
        "white": int(is_white(values)),
        "explained": dict.fromkeys(sorted(names), 1),
        "shown": _numbers(shown),
        "class_without_pixel": _numbers(missing),
        "class_without_label": _numbers(extra),
        "pixels": _numbers(values),
    }


def _numbers(values: NDArray[np.integer] | NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(values.astype(np.int64).tolist())
