"""Options of the merging of class-agnostic segments."""

from __future__ import annotations

import typing
from typing import Literal

from ...ops.refinement.segment_merging import Assignment, MergeRule
from ..fields import Options, dataclass, option
from ..rules import Threshold

SegmentKind = Literal["sam", "masks", "ids"]
"""Kind of a folder of segments.

sam: `ID.json` with the list of masks that segment-anything writes with run lengths; masks: a folder
`ID` with one PNG for each segment, not 0 inside; ids: `ID.png` with one value for each segment, 255
(of 16 bits: 65535) where there is none.
"""
KINDS: tuple[SegmentKind, ...] = typing.get_args(SegmentKind)
SegmentSource = Literal["unmerged", "merged", "slic", "sam", "masks", "ids"]


@dataclass(frozen=True, kw_only=True)
class SegmentMerging(Options):
    """Options of the merging of segments (source: SEPL's code, max_iou_imp2)."""

    source: SegmentSource = option(
        "unmerged",
        "Source of the segments: superpixels of Felzenszwalb, at most 255 (unmerged) or 64 "
        "(merged) an image, or slic; or a folder with ID.json of segment-anything (sam), with "
        "folders ID of one PNG a segment (masks), or with ID.png of segment ids (ids).",
        added=True,
    )
    folder: str | None = option(
        None,
        "Folder of the segments, for the sources sam, masks and ids; the files' names, sizes and "
        "times of change enter the key.",
        file=True,
        machine=True,
    )
    threshold: Threshold | None = option(
        None,
        "Threshold at which class maps are cut before segments are merged into them; none: the "
        "best on the first scored split.",
        low=0,
        high=0.99,
        added=True,
    )
    inside: float = option(
        0.5,
        "Share of a segment's pixels; a class with more of them takes the segment.",
        low=0,
        high=1,
        added=True,
    )
    covered: float = option(
        0.85,
        "Share of a class's pixels; the class also takes a segment that holds as many of them; "
        "over 1: no segment.",
        low=0,
        high=2,
        added=True,
    )
    residue: bool = option(
        True, "Keep the pixels of a class where no free segment lies.", added=True
    )
    max_area_frac: float = option(
        1.0,
        "Largest share of the image that a segment may cover; larger segments are left out.",
        low=0,
        high=1,
        added=True,
    )
    keep_255: bool = option(
        False,
        "Keep unknown pixels of imported labels that no segment takes; otherwise they become "
        "background.",
        added=True,
    )
    assign: Assignment = option(
        "ascending",
        "Class that may take a segment: ascending, each class in turn, as in the code; largest, "
        "only the class with the most pixels in the segment, as in the paper.",
        added=True,
    )

    @property
    def kind(self) -> SegmentKind | None:
        """The kind of the folder of segments; None: the segments are superpixels."""
        return next((kind for kind in KINDS if kind == self.source), None)

    @property
    def rule(self) -> MergeRule:
        """The rule of merging."""
        return MergeRule(
            inside=self.inside,
            covered=self.covered,
            residue=self.residue,
            max_area=self.max_area_frac,
            keep_unknown=self.keep_255,
            assign=self.assign,
        )
