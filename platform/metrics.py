"""Scores of masks: one confusion matrix over a data set, and the exact threshold curve.

Rule (VOC): counts over all pixels of all images at original resolution; void (255) in the target
is dropped, void in a prediction counts as background; background is a class; a class without
target or predicted pixels is absent (NaN), not zero. Index 0 is background.
Shapes: C classes with background, H W pixels, T thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

VOID = 255
"""A pixel of no known class, in masks and in labels."""
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
    """`[T]` from `[T,C,C]`: the mean IoU over the scored classes that are present; NaN without
    any."""
    values = _ious(matrices)[:, list(scored)]
    known = np.isfinite(values)
    out: Values = np.full(len(values), np.nan)
    sums = np.where(known, values, 0.0).sum(1)
    np.divide(sums, known.sum(1), out=out, where=known.any(1))
    return out


class ConfusionMatrix:
    """Pixel counts by (target, prediction), `matrix` int64 `[C,C]`.

    Args:
        classes: how many classes there are, background included; fixed, never inferred.
    """

    def __init__(self, classes: int) -> None:
        self.matrix: Counts = np.zeros((classes, classes), np.int64)

    def update(self, target: object, prediction: object) -> None:
        """Counts one image or batch: integer arrays or tensors of one shape.

        Raises:
            ValueError: shapes differ, or a value is neither a class nor 255.
        """
        classes = len(self.matrix)
        t, p = (np.asarray(a).astype(np.int64) for a in (target, prediction))
        if t.shape != p.shape:
            raise ValueError(f"target has shape {t.shape}, prediction {p.shape}")
        for name, a in (("target", t), ("prediction", p)):
            bad = a[((a < 0) | (a >= classes)) & (a != VOID)]
            if bad.size:
                raise ValueError(f"{name} holds {bad[0]}; allowed are 0..{classes - 1} and 255")
        keep = t != VOID
        p = np.where(p == VOID, 0, p)
        flat = np.bincount(t[keep] * classes + p[keep], minlength=classes**2)
        self.matrix += flat.reshape(classes, classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Adds the counts of `other`, which has the same classes."""
        if other.matrix.shape != self.matrix.shape:
            raise ValueError(f"{len(other.matrix)} classes do not fit {len(self.matrix)}")
        self.matrix += other.matrix

    def iou(self) -> Values:
        """`[C]`: TP / (row + column - TP); NaN for an absent class."""
        return _ious(self.matrix)

    def mean_iou(self) -> float:
        """Mean over the classes that are present, background included; NaN without any."""
        values = self.iou()
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


class Steps:
    """Counts thresholds below a score by table: exact, and faster than a binary search.

    Scores are cut into cells whose number is a power of two, so that a score's cell is exact in
    float32; a cell holds one threshold at most.

    Args:
        thresholds: ascending, different, in 0..1 (as float32).

    Raises:
        ValueError: they are not.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        values = torch.tensor(thresholds, dtype=torch.float32)
        if not ((values >= 0) & (values <= 1)).all() or not (values.diff() > 0).all():
            raise ValueError(f"thresholds must ascend within 0..1, not {tuple(thresholds)}")
        self.cells = 1
        while len(set((values * self.cells).floor().tolist())) < len(values):
            self.cells *= 2
        own = (values * self.cells).long()
        inside = torch.full((self.cells + 1,), float("inf"))
        inside[own] = values
        self.inside = inside.numpy()
        before = torch.searchsorted(own, torch.arange(self.cells + 1))
        self.before = before.numpy().astype(np.int32)

    def below(self, score: NDArray[np.float32]) -> NDArray[np.int32]:
        """How many thresholds lie strictly below each score; scores are in 0..1."""
        score = score.clip(0, 1)
        cell = (score * np.float32(self.cells)).astype(np.int32)
        found: NDArray[np.int32] = self.before.take(cell) + (score > self.inside.take(cell))
        return found


OWN_BACKGROUND = 0.5
"""The threshold at which maps with a background plane of their own become labels: none is
chosen, the best plane wins (`ops.maps.best_class`)."""


class ThresholdCurve:
    """The confusion matrix at every seed threshold, from one pass over the class maps.

    A seed takes the best class where its score exceeds the threshold, background elsewhere
    (a constant background plane put first, then argmax: a tie goes to background). So one
    histogram of (target, best class, thresholds below the best score) holds every matrix.

    Args:
        classes: C, background included.
        thresholds: T ascending values.
    """

    def __init__(self, classes: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        self.steps = Steps(thresholds)
        self.counts: Counts = np.zeros((classes, classes, len(thresholds) + 1), np.int64)

    def update(self, target: torch.Tensor, score: torch.Tensor, best: torch.Tensor) -> None:
        """Counts one image.

        Args:
            target: integer `[H,W]`, 0..C-1 or 255.
            score: float `[H,W]`, the best class's score.
            best: integer `[H,W]`, the best class, 1..C-1.

        Raises:
            ValueError: a value is no class.
        """
        classes, _, bins = self.counts.shape
        row, column = self._places(target, "target"), self._places(best, "best")
        if column.max(initial=0) == classes:
            raise ValueError(f"best holds {VOID}, which is no class 0..{classes - 1}")
        flat = (row * np.int32(classes + 1) + column) * np.int32(bins)
        flat += self.steps.below(score.float().numpy())
        counts = np.bincount(flat.ravel(), minlength=(classes + 1) ** 2 * bins)
        self.counts += counts.reshape(classes + 1, classes + 1, bins)[:classes, :classes]

    def _places(self, values: torch.Tensor, name: str) -> NDArray[np.int32]:
        """The class of each pixel, C where it is void."""
        classes = len(self.counts)
        table = np.full(256, -1, np.int32)
        table[:classes], table[VOID] = range(classes), classes
        flat = values.numpy()
        if flat.dtype != np.uint8:
            if flat.min(initial=0) < 0 or flat.max(initial=0) > VOID:
                raise ValueError(f"{name} holds values that are no class 0..{classes - 1}")
            flat = flat.astype(np.uint8)
        found: NDArray[np.int32] = table.take(flat)
        if found.min(initial=0) < 0:
            raise ValueError(f"{name} holds values that are no class 0..{classes - 1}")
        return found

    def merge(self, other: ThresholdCurve) -> None:
        """Adds the counts of `other`, over the same classes and thresholds."""
        self.counts += other.counts

    def matrices(self) -> Counts:
        """`[T,C,C]`: the confusion matrix at each threshold."""
        above = self.counts[:, :, ::-1].cumsum(2)[:, :, ::-1]
        matrices = np.moveaxis(above[:, :, 1:], 2, 0).copy()
        matrices[:, :, 0] += self.counts.sum((1, 2)) - matrices.sum(2)
        return matrices


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One confusion matrix read as LPCAM's Table 1 does; fractions, NaN where undefined.

    `miou` averages over the scored classes; the other four over the scored classes without
    background: published FP + FN + mIoU come to 101.4 %, which only that reading explains.
    """

    iou: tuple[float, ...]
    miou: float
    false_positives: float
    false_negatives: float
    precision: float
    recall: float


def summarize(matrix: Counts, scored: Sequence[int]) -> Summary:
    """The scores of one `[C,C]` matrix over the classes `scored` (indices, 0 background).

    False positives and negatives are shares of the union: FP / (TP + FP + FN).
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
    """The boundary F-score: do outlines lie where they should, whatever the area?

    Of a class in an image: the harmonic mean of two shares, predicted outline near the true one
    and true outline near the predicted one; near is within 0.75 % of the image's diagonal
    (Csurka et al., BMVC 2013; the tolerance as there and in DAVIS, rounded up). Void pixels
    belong to no class. `sums` float64 `[C,2]`: scores added, images counted.

    Args:
        classes: C, background included (and not scored).
    """

    def __init__(self, classes: int) -> None:
        self.sums: Values = np.zeros((classes, 2))

    def update(self, target: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Counts one image, `[H,W]` both."""
        reach = math.ceil(0.0075 * math.hypot(*target.shape))
        prediction = np.where(target == VOID, VOID, prediction)
        for index in np.union1d(np.unique(target), np.unique(prediction)).tolist():
            if index in (0, VOID):
                continue
            self.sums[index] += boundary_f(target == index, prediction == index, reach), 1

    def merge(self, other: BoundaryScore) -> None:
        """Adds the sums of `other`."""
        self.sums = self.sums + other.sums

    def mean(self, scored: Sequence[int]) -> float | None:
        """Mean over the scored foreground classes that occur; None without any."""
        rows = [self.sums[c] for c in scored if c > 0 and self.sums[c, 1]]
        return float(np.mean([total / count for total, count in rows])) if rows else None


def boundary_f(target: NDArray[np.bool_], prediction: NDArray[np.bool_], reach: float) -> float:
    """The F-score of two regions' outlines, bool `[H,W]`, at a tolerance in pixels.

    An outline is the region's pixels with a neighbour (of four) outside it; the image's edge is
    no outside. Two regions without outline score 1, one of two 0.
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
