"""Scores of an image, and mIoU by the size of objects."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection
from dataclasses import dataclass

from ...platform.metrics import ConfusionMatrix
from .layers import Mask

ERRORS = ("false negatives", "false positives", "class confusion")
"""Kinds of wrong pixels: objects predicted as background, background predicted as an object, and
objects predicted as an object of another class."""
SIZES = ("small", "medium", "large")
"""Thirds of the objects of a split, by their share of the image.

COCO's bounds are not used: they are for instances, and three quarters of VOC's objects and almost
all objects of `scenes` would be large.
"""


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """Scores of an image. Pixels whose target is void are left out.

    Attributes:
        figures: mean IoU over the classes in the target or the prediction, background included,
            then the share of pixels with each of ERRORS, all 0 to 1.
        pixels: number of pixels.
        objects: (class, pixels of the target, pixels of the prediction, pixels of both) for each
            foreground class in the target. All pixels of a class in an image count as one object,
            because masks do not tell instances apart.
    """

    figures: tuple[float, ...]
    pixels: int
    objects: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class SizeScore:
    """Mean IoU over the classes that have objects of a size (None without objects), and their
    number of objects."""

    objects: int
    miou: float | None


def score_of_image(prediction: Mask, target: Mask, classes: int) -> ImageScore:
    """Return the scores of an image.

    Args:
        prediction: mask values `[H,W]`; 255 counts as background.
        target: mask values `[H,W]`; pixels of 255 are left out, and not all pixels are 255.
        classes: number of classes with background.
    """
    confusion = ConfusionMatrix(classes)
    confusion.update(target, prediction)
    matrix = confusion.matrix
    total = int(matrix.sum())
    correct = matrix.diagonal()
    missed, invented = int(matrix[1:, 0].sum()), int(matrix[0, 1:].sum())
    confused = total - int(correct.sum()) - missed - invented
    shares = [count / total for count in (missed, invented, confused)]
    in_target, in_prediction = matrix.sum(1), matrix.sum(0)
    return ImageScore(
        figures=tuple(round(v, 4) for v in (confusion.mean_iou(), *shares)),
        pixels=total,
        objects=tuple(
            (c, int(in_target[c]), int(in_prediction[c]), int(correct[c]))
            for c in range(1, classes)
            if in_target[c]
        ),
    )


def size_bounds(scores: Collection[ImageScore], scored: Collection[int]) -> tuple[float, float]:
    """Return the shares of the image from which an object is medium and large.

    A third of the objects is below the first bound, and a third is not below the second bound, so
    far as objects of one size can be told apart; both bounds are 0 without objects.

    Args:
        scores: scores of the images.
        scored: classes whose objects count.
    """
    shares = sorted(o[1] / s.pixels for s in scores for o in s.objects if o[0] in scored)
    count = len(shares)
    return (shares[count // 3], shares[2 * count // 3]) if shares else (0.0, 0.0)


def miou_by_size(
    scores: Collection[ImageScore], scored: Collection[int], bounds: tuple[float, float]
) -> dict[str, SizeScore]:
    """Return the mean IoU of the objects of each size.

    The IoU of a class at a size is computed from the pixels of all images in which the class has an
    object of that size. So a pixel that is wrongly predicted as a class counts at the size that the
    class has in the same image, and counts nowhere if the class is not in the image. Background has
    no size and is left out.

    Args:
        scores: scores of the images.
        scored: classes that the mean runs over.
        bounds: result of `size_bounds`.
    """
    counts: dict[str, dict[int, list[int]]] = {size: {} for size in SIZES}
    numbers = dict.fromkeys(SIZES, 0)
    for score in scores:
        for c, in_target, in_prediction, in_both in score.objects:
            if c not in scored:
                continue
            size = SIZES[bisect.bisect_right(bounds, in_target / score.pixels)]
            numbers[size] += 1
            count = counts[size].setdefault(c, [0, 0])
            count[0] += in_both
            count[1] += in_target + in_prediction - in_both
    return {
        size: SizeScore(objects=numbers[size], miou=_mean([a / b for a, b in by_class.values()]))
        for size, by_class in counts.items()
    }


def _mean(values: Collection[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
