"""Merging of class-agnostic segments into labels, and its scores at every threshold; Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...data.formats import class_maps, label_maps, segments, shards
from ...data.formats.class_maps import ClassMaps
from ...data.images import decode_mask
from ...errors import InputError
from ...metrics import THRESHOLDS
from ...ops.maps import best_class
from ...ops.refinement.segment_merging import (
    MergeRule,
    Segments,
    merged_at_thresholds,
    merged_labels,
)
from ...ray_runtime import cluster
from ...storage.artifact import Artifact
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from .pseudo_labels import Cut, Labels, labels_of_maps
from .scoring import COLUMNS, LABELS_STAGE, Tally, true_mask, write_tally

SUPERPIXEL_STAGE = "superpixels"


@dataclass(frozen=True)
class Files:
    """The files of one slice.

    Attributes:
        piece: the slice of the shards.
        source: class maps or labels of its images.
        segments: segments or superpixels of its images.
    """

    piece: shards.Slice
    source: ArtifactFile
    segments: ArtifactFile


@dataclass(frozen=True)
class Inputs:
    """The artifacts and the rule of one merging.

    Attributes:
        source: artifact of class maps or labels.
        segments: artifact of segments, or of superpixels.
        rule: the rule of merging.
    """

    source: Artifact
    segments: Artifact
    rule: MergeRule

    @property
    def kinds(self) -> tuple[bool, bool]:
        """Whether the source holds labels, and whether the segments are superpixels."""
        stages = self.source.manifest["stage"], self.segments.manifest["stage"]
        return stages[0] == LABELS_STAGE, stages[1] == SUPERPIXEL_STAGE

    def files(self, pieces: Sequence[shards.Slice]) -> list[Files]:
        """Return the files of slices."""
        return [
            Files(p, *(a.file(f"{p.name}.parquet") for a in (self.source, self.segments)))
            for p in pieces
        ]


def read_segments(file: ArtifactFile, superpixels: bool) -> dict[str, Segments]:
    """Return the segments of the images of a slice, by image id."""
    if not superpixels:
        return segments.read(file.local())
    return {id: Segments.from_ids(ids) for id, ids in label_maps.read(file.local()).items()}


def _merged(labels: Labels, image_segments: Segments, rule: MergeRule, id: str) -> Labels:
    try:
        return merged_labels(labels, image_segments, rule)
    except ValueError as error:
        raise InputError(f"image {id}: {error}") from None


def _labels(files: Files, from_labels: bool, level: float) -> Iterator[tuple[str, Labels]]:
    """Yield id and labels of the images of a slice before the merging."""
    if from_labels:
        yield from label_maps.read(files.source.local()).items()
        return
    for maps in class_maps.read([files.source.local()]):
        yield maps.id, labels_of_maps(maps, Cut(levels=(level,)))


def merge_slice(
    files: Files,
    rule: MergeRule,
    level: float,
    kinds: tuple[bool, bool],
    folder: ArtifactFolder,
) -> int:
    """Write the merged labels of one slice; return the number of images. A Ray task.

    Args:
        files: the files of the slice.
        rule: the rule of merging.
        level: score of the background at which class maps are cut, see `pseudo_labels.Cut`.
        kinds: see `Inputs.kinds`.
        folder: folder that takes the file.
    """
    torch.set_num_threads(1)
    from_labels, superpixels = kinds
    by_id = read_segments(files.segments, superpixels)
    rows = [
        (id, _merged(labels, by_id[id], rule, id))
        for id, labels in _labels(files, from_labels, level)
    ]
    return label_maps.write(label_maps.file_of_slice(folder, files.piece), rows)


def merge(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    inputs: Inputs,
    level: float,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Merge the segments of slices into labels with Ray tasks.

    Args:
        folder: empty folder that takes the files.
        pieces: slices of the shards.
        inputs: class maps or labels, segments, and the rule.
        level: score of the background at which class maps are cut.
        progress: called with (slices done, slices in all).

    Returns:
        Facts about the artifact for its manifest.
    """
    shared = (inputs.rule, level, inputs.kinds, folder)
    images = cluster.map_tasks(merge_slice, inputs.files(pieces), shared, progress)
    return {"images": sum(images), "level": level}


def add_image(
    tally: Tally, maps: ClassMaps, image_segments: Segments, rule: MergeRule, row: dict[str, Any]
) -> None:
    """Count the merged labels of one image at every threshold of its class maps.

    Args:
        tally: takes the counts.
        maps: class maps without a background plane.
        image_segments: segments of the image.
        rule: the rule of merging.
        row: row of the shard, with the mask and, where the data set has one, the part map.

    Raises:
        InputError: the image has no mask, or mask, class maps and segments differ in size.
    """
    target = true_mask(row)
    parts = None if row["parts"] is None else decode_mask(row["parts"], row["id"])
    size = (maps.height, maps.width)
    score, best = best_class(torch.from_numpy(maps.planes), maps.classes, size)
    below = tally.curve.steps.below(score.numpy())
    arguments = best.numpy(), below, len(THRESHOLDS), image_segments, rule
    try:
        tally.add_labels(target, merged_at_thresholds(*arguments), parts)
    except ValueError as error:
        raise InputError(f"image {row['id']}: {error}") from None


def score_slice(files: Files, rule: MergeRule, superpixels: bool, classes: int) -> Tally:
    """Count the images of one slice at every threshold; a Ray task.

    Args:
        files: the files of the slice, with class maps.
        rule: the rule of merging.
        superpixels: whether the segments are superpixels.
        classes: number of classes, background included.
    """
    torch.set_num_threads(1)
    rows = {row["id"]: row for row in shards.read(files.piece, COLUMNS)}
    by_id = read_segments(files.segments, superpixels)
    tally = Tally.empty(classes)
    for maps in class_maps.read([files.source.local()]):
        add_image(tally, maps, by_id[maps.id], rule, rows[maps.id])
    return tally


def score(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    inputs: Inputs,
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Count the merged labels of a split at every threshold with Ray tasks.

    Args:
        folder: empty folder that takes the file of counts.
        pieces: slices of the shards.
        inputs: class maps, segments, and the rule.
        classes: number of classes, background included.
        progress: called with (slices done, slices in all).

    Returns:
        Facts about the artifact for its manifest.
    """
    total = Tally.empty(classes)
    shared = (inputs.rule, inputs.kinds[1], classes)
    for tally in cluster.map_tasks(score_slice, inputs.files(pieces), shared, progress):
        total.merge(tally)
    return write_tally(folder, total)
