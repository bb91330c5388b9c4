"""Scores of masks: one confusion matrix over a data set, and the exact threshold curve.

Rule (VOC): counts over all pixels of all images at original resolution; void (255) in the target
is dropped, void in a prediction counts as background; background is a class; a class without
target or predicted pixels is absent (NaN), not zero. Index 0 is background.
Shapes: C classes with background, H W pixels, T thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .labels import VOID

RULE = "one confusion matrix at original resolution, void dropped, background included"
THRESHOLDS = tuple(round(k / 100, 2) for k in range(100))

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def _ious(matrix: Counts) -> Values:
    hit = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    union = matrix.sum(-1) + matrix.sum(-2) - hit
    out: Values = np.full(hit.shape, np.nan)
    np.divide(hit, union, out=out, where=union > 0)
    return out


def mean_ious(matrices: Counts, scored: Sequence[int]) -> Values:
    """Return the mean IoU of each confusion matrix over the scored classes that are present.

    Args:
        matrices: `[T,C,C]`.
        scored: indices of the scored classes.

    Returns:
        `[T]`; NaN where no scored class is present.
    """
    values = _ious(matrices)[:, list(scored)]
    known = np.isfinite(values)
    out: Values = np.full(len(values), np.nan)
    sums = np.where(known, values, 0.0).sum(1)
    np.divide(sums, known.sum(1), out=out, where=known.any(1))
    return out


def _integers(values: object) -> NDArray[np.int64]:
    """Return an array, or a tensor of any device, as int64 array."""
    values = values.cpu() if isinstance(values, torch.Tensor) else values
    return np.asarray(values).astype(np.int64)


class ConfusionMatrix:
    """A confusion matrix: pixel counts by (target, prediction), `matrix` int64 `[C,C]`.

    Args:
        classes: number of classes, background included; fixed, never inferred.
    """

    def __init__(self, classes: int) -> None:
        self.matrix: Counts = np.zeros((classes, classes), np.int64)

    def update(self, target: object, prediction: object) -> None:
        """Count the pixels of one image or batch: integer arrays or tensors of one shape.

        Raises:
            ValueError: shapes differ, or a value is neither a class nor 255.
        """
        classes = len(self.matrix)
        t, p = (_integers(a) for a in (target, prediction))
        if t.shape != p.shape:
            raise ValueError(f"target has shape {t.shape}, but prediction has shape {p.shape}")
        for name, a in (("target", t), ("prediction", p)):
            bad = a[((a < 0) | (a >= classes)) & (a != VOID)]
            if bad.size:
                raise ValueError(f"{name} holds {bad[0]}; allowed are 0..{classes - 1} and 255")
        keep = t != VOID
        p = np.where(p == VOID, 0, p)
        flat = np.bincount(t[keep] * classes + p[keep], minlength=classes**2)
        self.matrix += flat.reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of `other`, which has the same classes."""
        if other.matrix.shape != self.matrix.shape:
            raise ValueError(
                f"counts of {len(other.matrix)} classes cannot be added to counts of "
                f"{len(self.matrix)}"
            )
        self.matrix += other.matrix

    def iou(self) -> Values:
        """Return the IoU of each class, `[C]`: TP / (row + column - TP), or NaN if it is absent."""
        return _ious(self.matrix)

    def mean_iou(self) -> float:
        """Return the mean IoU of the classes that are present, background included.

        NaN where no class is present.
        """
        values = self.iou()
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


class Steps:
    """A table that counts the thresholds below a score; exact, and faster than a binary search.

    The range 0..1 is cut into a power of two of equal cells, so that the cell of a score is exact
    in float32; a cell holds one threshold at most.

    Args:
        thresholds: ascending values in 0..1, all different as float32.

    Raises:
        ValueError: the thresholds do not ascend, or lie outside 0..1.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        values = torch.tensor(thresholds, dtype=torch.float32)
        if not ((values >= 0) & (values <= 1)).all() or not (values.diff() > 0).all():
            raise ValueError(f"thresholds must ascend within 0..1, not {tuple(thresholds)}")
        self.cells = 1
        while len(set((values * self.cells).floor().tolist())) < len(values):
            self.cells *= 2
        cell_numbers = (values * self.cells).long()
        inside = torch.full((self.cells + 1,), float("inf"))
        inside[cell_numbers] = values
        self.inside = inside.numpy()
        before = torch.searchsorted(cell_numbers, torch.arange(self.cells + 1))
        self.before = before.numpy().astype(np.int32)

    def below(self, score: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the number of thresholds strictly below each score; scores are in 0..1."""
        score = score.clip(0, 1)
        cell = (score * np.float32(self.cells)).astype(np.int32)
        counts: NDArray[np.int32] = self.before.take(cell) + (score > self.inside.take(cell))
        return counts


OWN_BACKGROUND = 0.5
"""The threshold that is noted for class maps with a background plane of their own. No threshold
is chosen for them: the plane with the best score wins (`ops.maps.best_class`)."""


class ThresholdCurve:
    """The confusion matrices at all seed thresholds, counted in one pass over the class maps.

    A seed takes the best class where its score exceeds the threshold, and background elsewhere
    (a constant background plane put first, then argmax: a tie goes to background). So one
    histogram of (target, best class, thresholds below the best score) holds every matrix.

    Args:
        classes: number of classes C, background included.
        thresholds: T ascending values in 0..1.
    """

    def __init__(self, classes: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        self.steps = Steps(thresholds)
        self.counts: Counts = np.zeros((classes, classes, len(thresholds) + 1), np.int64)

    def update(self, target: torch.Tensor, score: torch.Tensor, best: torch.Tensor) -> None:
        """Count the pixels of one image.

        Args:
            target: integer `[H,W]`, 0..C-1 or 255.
            score: float `[H,W]`, the score of the best class.
            best: integer `[H,W]`, the best class, 1..C-1.

        Raises:
            ValueError: a value of `target` or `best` is not a class.
        """
        classes, _, bins = self.counts.shape
        row, column = self._class_indices(target, "target"), self._class_indices(best, "best")
        if column.max(initial=0) == classes:
            raise ValueError(f"best holds {VOID}, which is not a class 0..{classes - 1}")
        flat = (row * np.int32(classes + 1) + column) * np.int32(bins)
        flat += self.steps.below(score.float().numpy())
        counts = np.bincount(flat.ravel(), minlength=(classes + 1) ** 2 * bins)
        self.counts += counts.reshape(classes + 1, classes + 1, bins)[:classes, :classes]

    def update_labels(
        self, target: torch.Tensor, by_threshold: Iterable[NDArray[np.uint8]]
    ) -> None:
        """Count the pixels of one image whose labels at a threshold are no cut of one score.

        `counts` then holds differences of neighbouring thresholds, which may be negative.

        Args:
            target: integer `[H,W]`, 0..C-1 or 255.
            by_threshold: labels `[H,W]` at each threshold, 0..C-1.

        Raises:
            ValueError: a value of `target` is not a class.
        """
        classes, whole = len(self.counts), len(self.counts) + 1
        first = self._class_indices(target, "target") * np.int32(whole)
        counts = [np.bincount((first + x).ravel(), minlength=whole**2) for x in by_threshold]
        matrices = np.stack(counts, -1).reshape(whole, whole, -1)[:classes, :classes]
        above = matrices.copy()
        above[:, 0] = 0
        self.counts[:, :, 1:] += above
        self.counts[:, :, 1:-1] -= above[:, :, 1:]
        self.counts[:, 0, 0] += matrices[:, 0, 0]

    def _class_indices(self, values: torch.Tensor, name: str) -> NDArray[np.int32]:
        """Return the class of each pixel, C for a void pixel."""
        classes = len(self.counts)
        table = np.full(256, -1, np.int32)
        table[:classes], table[VOID] = range(classes), classes
        flat = values.numpy()
        if flat.dtype != np.uint8:
            if flat.min(initial=0) < 0 or flat.max(initial=0) > VOID:
                raise ValueError(f"{name} holds values that are not a class 0..{classes - 1}")
            flat = flat.astype(np.uint8)
        indices: NDArray[np.int32] = table.take(flat)
        if indices.min(initial=0) < 0:
            raise ValueError(f"{name} holds values that are not a class 0..{classes - 1}")
        return indices

    def merge(self, other: ThresholdCurve) -> None:
        """Add the counts of `other`, which has the same classes and thresholds."""
        self.counts += other.counts

    def matrices(self) -> Counts:
        """Return the confusion matrix at each threshold, `[T,C,C]`."""
        above = self.counts[:, :, ::-1].cumsum(2)[:, :, ::-1]
        matrices = np.moveaxis(above[:, :, 1:], 2, 0).copy()
        matrices[:, :, 0] += self.counts.sum((1, 2)) - matrices.sum(2)
        return matrices


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The scores of one confusion matrix, as in LPCAM's Table 1; fractions, NaN where undefined.

    `miou` averages over the scored classes. The rates and `precision` and `recall` average over
    the scored classes without background: the published FP + FN + mIoU come to 101.4 %, which
    only this definition explains.
    """

    iou: tuple[float, ...]
    miou: float
    false_positives: float
    false_negatives: float
    precision: float
    recall: float


def summarize(matrix: Counts, scored: Sequence[int]) -> Summary:
    """Return the scores of one confusion matrix.

    False positives and false negatives are shares of the union, e.g. FP / (TP + FP + FN).

    Args:
        matrix: `[C,C]`.
        scored: indices of the scored classes, 0 for background.
    """
    hit = np.diagonal(matrix).astype(np.float64)
    row, column = matrix.sum(1), matrix.sum(0)
    foreground = [c for c in scored if c > 0]

    def mean(top: Values, bottom: Values) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = (top / bottom)[foreground]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    union = (row + column - hit).astype(np.float64)
    iou = _ious(matrix)
    present = iou[list(scored)]
    return Summary(
        iou=tuple(float(v) for v in iou),
        miou=float(np.nanmean(present)) if np.isfinite(present).any() else float("nan"),
        false_positives=mean(column - hit, union),
        false_negatives=mean(row - hit, union),
        precision=mean(hit, column.astype(np.float64)),
        recall=mean(hit, row.astype(np.float64)),
    )


class BoundaryScore:
    """The boundary F-score, which compares outlines whatever the area that they enclose.

    The score of a class in an image is the harmonic mean of two shares: of the predicted outline
    that is near the true one, and of the true outline that is near the predicted one. Near is
    within 0.75 % of the image's diagonal (the tolerance of Csurka et al., BMVC 2013, and of
    DAVIS, rounded up to whole pixels). Void pixels belong to no class. `sums` float64 `[C,2]`
    holds the sum of scores and the number of images of each class.

    Args:
        classes: number of classes C, background included (background is not scored).
    """

    def __init__(self, classes: int) -> None:
        self.sums: Values = np.zeros((classes, 2))

    def update(self, target: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Add the scores of one image; target and prediction are `[H,W]`."""
        reach = math.ceil(0.0075 * math.hypot(*target.shape))
        prediction = np.where(target == VOID, VOID, prediction)
        for index in np.union1d(np.unique(target), np.unique(prediction)).tolist():
            if index in (0, VOID):
                continue
            self.sums[index] += boundary_f(target == index, prediction == index, reach), 1

    def merge(self, other: BoundaryScore) -> None:
        """Add the sums of `other`."""
        self.sums = self.sums + other.sums

    def mean(self, scored: Sequence[int]) -> float | None:
        """Return the mean over the scored foreground classes that occur; None where none occurs."""
        rows = [self.sums[c] for c in scored if c > 0 and self.sums[c, 1]]
        return float(np.mean([total / count for total, count in rows])) if rows else None


def boundary_f(target: NDArray[np.bool_], prediction: NDArray[np.bool_], reach: float) -> float:
    """Return the F-score of the outlines of two regions.

    The outline of a region is its pixels with one of their four neighbours outside the region;
    beyond the image's edge is not outside. Two regions without an outline score 1; if only one
    region has an outline, the score is 0.

    Args:
        target: bool `[H,W]`.
        prediction: bool `[H,W]`.
        reach: tolerance in pixels.
    """
    from scipy import ndimage

    lines = [
        region & ~ndimage.binary_erosion(region, border_value=1) for region in (target, prediction)
    ]
    if not (lines[0].any() and lines[1].any()):
        return float(not (lines[0].any() or lines[1].any()))
    shares = []
    for line, other in ((lines[1], lines[0]), (lines[0], lines[1])):
        distance = ndimage.distance_transform_edt(~other)
        shares.append(float((distance[line] <= reach).mean()))
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0
