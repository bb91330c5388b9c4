"""Merging of class-agnostic segments into labels by the rule of SEPL.

Source: Chen et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for Weakly Supervised
Semantic Segmentation", 2023. Segments may overlap and leave pixels uncovered.
Shapes: M segments, C classes with background, T thresholds, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...labels import VOID

Labels = NDArray[np.uint8]
Assignment = Literal["ascending", "largest"]
"""Which class may take a segment.

ascending: each class whose pixels pass the rule, the lowest class value first. largest: only the
class with the most pixels in the segment, of equal classes the lowest value.
"""


@dataclass(frozen=True, kw_only=True)
class MergeRule:
    """The rule by which segments take the class of labels.

    Attributes:
        inside: share of a segment's pixels; the class takes the segment if more pixels than this
            have the class.
        covered: share of the class's pixels; the class also takes a segment that holds as many.
        residue: whether pixels of a class keep it where no free segment lies.
        max_area: largest share of the image that a segment may cover; larger segments are left out.
        keep_unknown: whether unknown pixels that no segment takes stay unknown; otherwise they
            become background.
        assign: which class may take a segment.
    """

    inside: float = 0.5
    covered: float = 0.85
    residue: bool = True
    max_area: float = 1.0
    keep_unknown: bool = False
    assign: Assignment = "ascending"


@dataclass(frozen=True)
class Segments:
    """The segments of one image.

    Attributes:
        height, width: size of the image.
        pixels: for each segment the numbers of its pixels, ascending, counted along the rows.
    """

    height: int
    width: int
    pixels: Sequence[NDArray[np.int32]]

    @classmethod
    def from_masks(cls, height: int, width: int, masks: Iterable[NDArray[np.bool_]]) -> Segments:
        """Return the segments of masks `[H,W]`; empty masks are left out."""
        numbers = (np.flatnonzero(mask).astype(np.int32) for mask in masks)
        return cls(height, width, [pixels for pixels in numbers if len(pixels)])

    @classmethod
    def from_ids(cls, ids: NDArray[np.integer], uncovered: int | None = None) -> Segments:
        """Return the segments of ids `[H,W]`, one for each value but `uncovered`."""
        flat = ids.ravel()
        order = np.argsort(flat, kind="stable").astype(np.int32)
        values, starts = np.unique(flat[order], return_index=True)
        groups = np.split(order, starts[1:])
        kept = [g for value, g in zip(values.tolist(), groups, strict=True) if value != uncovered]
        height, width = ids.shape
        return cls(height, width, kept)

    def limited(self, share: float) -> Segments:
        """Return the segments that cover at most a share of the image."""
        most = share * self.height * self.width
        return Segments(self.height, self.width, [p for p in self.pixels if len(p) <= most])


@dataclass(frozen=True)
class _Overlaps:
    """Counts of pixels: `areas` `[M]`, `inside` `[M,C]` of each class, and `totals` `[C]`."""

    areas: NDArray[np.int64]
    inside: NDArray[np.int64]
    totals: NDArray[np.int64]


def merged_labels(labels: Labels, segments: Segments, rule: MergeRule) -> Labels:
    """Return labels after segments have taken their class.

    Without segments all classes keep their pixels.

    For each present class c, in ascending order: the class takes each free segment that `rule`
    allows, and keeps its pixels outside all free segments. So pixels of a class under segments that
    it does not take become background, and a later class overwrites an earlier one.

    Args:
        labels: mask values `[H,W]`, 255 where unknown.
        segments: segments of the image.
        rule: the rule.

    Raises:
        ValueError: labels and segments differ in size.
    """
    segments = _fitting(labels.shape, segments, rule)
    if not segments.pixels:
        return labels if rule.keep_unknown else np.where(labels == VOID, np.uint8(0), labels)
    flat, classes = labels.ravel(), int(labels[labels != VOID].max(initial=0)) + 1
    counts = [np.bincount(flat[pixels], minlength=256)[:classes] for pixels in segments.pixels]
    areas = np.array([len(pixels) for pixels in segments.pixels])
    totals = np.bincount(flat, minlength=256)[:classes]
    overlaps = _Overlaps(areas, np.array(counts), totals)
    return _merged(flat, segments, rule, overlaps, _cover(segments)).reshape(labels.shape)


def merged_at_thresholds(
    best: Labels, below: NDArray[np.integer], thresholds: int, segments: Segments, rule: MergeRule
) -> Iterator[Labels]:
    """Yield the merged labels `[H,W]` of class maps that are cut at each of T thresholds.

    The pixels of each segment are counted once for all thresholds.

    Args:
        best: best foreground class of each pixel `[H,W]`.
        below: number of thresholds below the score of each pixel `[H,W]`, 0..T.
        thresholds: T.
        segments: segments of the image.
        rule: the rule.

    Raises:
        ValueError: class maps and segments differ in size.
    """
    segments = _fitting(best.shape, segments, rule)
    classes, bins = int(best.max(initial=0)) + 1, thresholds + 1
    codes = (best.astype(np.int32) * bins + below).ravel()

    def above(pixels: NDArray[np.int32] | slice) -> NDArray[np.int64]:
        """Return how many of the pixels have each class at each threshold, `[C,T]`."""
        counts = np.bincount(codes[pixels], minlength=classes * bins).reshape(classes, bins)
        return counts[:, ::-1].cumsum(1)[:, ::-1][:, 1:]

    inside = np.array([above(pixels) for pixels in segments.pixels]).reshape(-1, classes, bins - 1)
    areas = np.array([len(pixels) for pixels in segments.pixels], np.int64)
    totals, cover = above(slice(None)), _cover(segments)
    for number in range(thresholds):
        flat = np.where(below > number, best, 0).astype(np.uint8).ravel()
        overlaps = _Overlaps(areas, inside[:, :, number], totals[:, number])
        out = _merged(flat, segments, rule, overlaps, cover) if segments.pixels else flat
        yield out.reshape(best.shape)


def _fitting(size: tuple[int, ...], segments: Segments, rule: MergeRule) -> Segments:
    """Return the segments that take part; raises ValueError if their image has another size."""
    if size != (segments.height, segments.width):
        raise ValueError(
            f"the labels have the size {size}, and the segments {segments.height, segments.width}"
        )
    return segments.limited(rule.max_area)


def _cover(segments: Segments) -> NDArray[np.int32]:
    """Return the number of segments on each pixel, `[HW]`."""
    cover = np.zeros(segments.height * segments.width, np.int32)
    for pixels in segments.pixels:
        cover[pixels] += 1
    return cover


def _merged(
    flat: Labels,
    segments: Segments,
    rule: MergeRule,
    overlaps: _Overlaps,
    cover: NDArray[np.int32],
) -> Labels:
    """Return merged labels `[HW]`, from the counts of pixels of `flat` in the segments."""
    out = np.zeros_like(flat)
    free = np.ones(len(segments.pixels), np.bool_)
    present = np.flatnonzero(overlaps.totals[1:]) + 1
    largest = overlaps.inside[:, 1:].argmax(1) + 1 if len(present) else free
    cover_copied = False
    for value in present.tolist():
        inside, total = overlaps.inside[:, value], overlaps.totals[value]
        chosen = (inside > rule.inside * overlaps.areas) | (inside >= rule.covered * total)
        chosen &= free
        if rule.assign == "largest":
            chosen &= largest == value
        taken = np.flatnonzero(chosen).tolist()
        if rule.residue:
            out[(flat == value) & (cover == 0)] = value
        if taken and not cover_copied:
            cover, cover_copied = cover.copy(), True
        for number in taken:
            pixels = segments.pixels[number]
            out[pixels] = value
            cover[pixels] -= 1
        free[taken] = False
    if rule.keep_unknown:
        out[(flat == VOID) & (out == 0)] = VOID
    return out
