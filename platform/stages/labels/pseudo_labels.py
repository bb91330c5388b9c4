"""Pseudo labels from class maps: cut at a threshold, refined by DenseCRF, or only where certain.

The work is done by Ray tasks, one for each slice of the shards. If DenseCRF kills a process, only
the image at fault keeps its unrefined labels and is named; the job goes on. So is an image whose
DenseCRF would take too much memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...config.experiment import Views
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...data.images import decode_image, decode_mask
from ...errors import InputError
from ...labels import VOID
from ...ops.crf import CRF, Refiner, best_labels, crf_bytes
from ...ops.maps import LARGE, background_at, enlarge_probabilities
from ...ray_runtime import cluster
from ...records.reduced_images import TOO_LARGE
from ...storage.artifact_files import ArtifactFile, ArtifactFolder

Labels = NDArray[np.uint8]
PLANNED_LABELS = 16
"""Number of labels of an image that the memory of several DenseCRFs side by side is planned for."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The rule by which class maps become labels.

    Attributes:
        levels: score of the background, or the factor on the background plane where class maps have
            one. With one level, the highest score gives the label. With two, the foreground at the
            first level and the background at both levels are certain, and all else is unknown
            (255). A soft DenseCRF starts from a background that falls with the highest class and
            is cut at the same level, see `ops.maps.background_at`.
        crf: DenseCRF that refines the labels of each level; without it the maps are only cut.
        power: exponent that is applied to the class maps before they are compared with the levels.
        least: smallest score that a class must reach somewhere to take part. DenseCRF's time grows
            with the classes, and a segmenter gives some probability to each class.
        probabilities: whether the class maps are a segmenter's probabilities, which are enlarged as
            if its logits were, see `ops.maps.enlarge_probabilities`.
        most_bytes: memory that the DenseCRF of one image may take; an image that would take more is
            not refined.
    """

    levels: tuple[float, ...]
    crf: CRF | None = None
    power: float = 1.0
    least: float = 0.0
    probabilities: bool = False
    most_bytes: int = Views().image_bytes

    @property
    def soft(self) -> bool:
        """Whether a DenseCRF starts from the scores themselves, not from hard labels."""
        return self.crf is not None and not self.crf.certainty


def scores_at_level(maps: ClassMaps, level: float, cut: Cut) -> NDArray[np.float32]:
    """Return scores `[L,H,W]` at the image's size, the background first, then each class.

    Args:
        maps: class maps of one image.
        level: see `Cut.levels`.
        cut: the rule.
    """
    has_background = int(bool(maps.classes) and maps.classes[0] == 0)
    out = np.full(
        (1 + len(maps.classes) - has_background, maps.height, maps.width), level, np.float32
    )
    if maps.classes:
        planes = torch.from_numpy(maps.planes).float()[None]
        size = (maps.height, maps.width)
        resized = enlarged(planes, size, cut)[0].numpy() ** cut.power
        out[1:] = resized[has_background:]
        if has_background:
            out[0] = level * resized[0]
        elif cut.soft:
            out[0] = background_at(torch.from_numpy(resized), level)
    if cut.probabilities and cut.crf:
        out /= out.sum(0)
    return out


def enlarged(planes: Tensor, size: tuple[int, int], cut: Cut) -> Tensor:
    """Return planes `[B,N,h,w]` at the image's size, see `Cut.probabilities`."""
    if cut.probabilities:
        return enlarge_probabilities(planes, size)
    return F.interpolate(planes, size, mode="bilinear", align_corners=False)


def seed_labels(maps: ClassMaps, level: float, cut: Cut) -> Labels:
    """Return the number of the best score of each pixel, `[H,W]`, as `scores_at_level` counts them.

    The scores of many classes in a huge image are formed one plane at a time. A DenseCRF of the
    rule has no effect.
    """
    cut = replace(cut, crf=None)
    first = int(bool(maps.classes) and maps.classes[0] == 0)
    if (len(maps.classes) + 1) * maps.height * maps.width <= LARGE:
        return best_labels(scores_at_level(maps, level, cut), None)
    best: NDArray[np.float32] = scores_at_level(planes_of(maps, range(first)), level, cut)[0]
    labels = np.zeros(best.shape, np.uint8)
    for number in range(first, len(maps.classes)):
        plane = scores_at_level(planes_of(maps, [number]), level, cut)[1]
        labels[plane > best] = number - first + 1
        best = np.maximum(best, plane)
    return labels


def planes_of(maps: ClassMaps, indices: Sequence[int]) -> ClassMaps:
    """Return some of the class maps of an image."""
    classes = tuple(maps.classes[k] for k in indices)
    return replace(maps, classes=classes, planes=maps.planes[list(indices)])


def present_maps(maps: ClassMaps, least: float) -> ClassMaps:
    """Return the background plane and the class maps that reach `least` somewhere."""
    high = maps.planes.max((1, 2), initial=0) >= least
    return planes_of(maps, [k for k, value in enumerate(maps.classes) if value == 0 or high[k]])


def over_limit(maps: ClassMaps, cut: Cut) -> bool:
    """Return whether the DenseCRF of an image would take more memory than an image may take."""
    labels = len({0, *present_maps(maps, cut.least).classes})
    return bool(cut.crf) and crf_bytes(maps.height * maps.width, labels) > cut.most_bytes


def labels_of(image: NDArray[np.uint8], maps: ClassMaps, cut: Cut) -> Labels:
    """Return the labels of one image, mask values `[H,W]`, 255 where unknown.

    Args:
        image: uint8 RGB `[H,W,3]`.
        maps: class maps of the image.
        cut: the rule.
    """
    maps = present_maps(maps, cut.least)
    if not cut.crf or over_limit(maps, cut):
        return labels_of_maps(maps, cut)
    refiner = Refiner(image, cut.crf)
    scores = (scores_at_level(maps, level, cut) for level in cut.levels)
    values = mask_values(maps)
    return _joined([values[best_labels(level_scores, refiner)] for level_scores in scores])


def mask_values(maps: ClassMaps) -> Labels:
    """Return the mask value of the background and of each class."""
    return np.array([0, *(c for c in maps.classes if c > 0)], np.uint8)


def labels_of_maps(maps: ClassMaps, cut: Cut) -> Labels:
    """Return the labels of one image without DenseCRF, as `labels_of` does."""
    values = mask_values(maps)
    return _joined([values[seed_labels(maps, level, cut)] for level in cut.levels])


def _joined(by_level: Sequence[Labels]) -> Labels:
    """Return the labels of one level, or what is certain by the labels of two levels."""
    if len(by_level) == 1:
        return by_level[0]
    certain, wide = by_level
    return np.where(certain > 0, certain, np.where(wide == 0, 0, VOID)).astype(np.uint8)


def label_rows(
    pair: tuple[shards.Slice, ArtifactFile], cut: Cut, only: int | None = None
) -> list[tuple[str, Labels]]:
    """Return ids and labels of the images of one slice.

    Args:
        pair: the slice of the shards and the file of its class maps.
        cut: the rule.
        only: number of the only image to label; None for all images.
    """
    piece, file = pair
    rows = shards.read(piece, ("id", "image"))
    rows = rows if only is None else rows[only : only + 1]
    maps = class_maps.read_in_order(file, [row["id"] for row in rows])
    return [
        (row["id"], labels_of(decode_image(row["image"], row["id"]), image_maps, cut))
        for row, image_maps in zip(rows, maps, strict=True)
    ]


def label_slice(
    pair: tuple[shards.Slice, ArtifactFile],
    cut: Cut,
    folder: ArtifactFolder,
    unrefined: tuple[int, ...] = (),
) -> tuple[int, list[str], list[str]]:
    """Write the labels of one slice; a Ray task.

    Args:
        pair: the slice of the shards and the file of its class maps.
        cut: the rule.
        folder: folder that takes the file.
        unrefined: numbers of images whose labels are not refined.

    Returns:
        The number of images, the ids of those in `unrefined`, and the ids of the other images that
        are not refined because DenseCRF would take too much memory.
    """
    torch.set_num_threads(1)
    unrefined_cut = replace(cut, crf=None)
    rows: list[tuple[str, Labels]] = []
    for number in range(pair[0].rows) if unrefined else ():
        rows += label_rows(pair, unrefined_cut if number in unrefined else cut, number)
    rows = rows or label_rows(pair, cut)
    label_maps.write(label_maps.file_of_slice(folder, pair[0]), rows)
    killers = [rows[number][0] for number in unrefined]
    maps = class_maps.read([pair[1].local()]) if cut.crf else ()
    large = [m.id for m in maps if over_limit(m, cut) and m.id not in killers]
    return len(rows), killers, large


def _label_survivors(
    pair: tuple[shards.Slice, ArtifactFile], cut: Cut, folder: ArtifactFolder
) -> tuple[int, list[str], list[str]]:
    """Label a slice whose process died: find the images that kill it and refine the rest."""
    killers = [
        number
        for number in range(pair[0].rows)
        if not cluster.survives(label_rows, pair, cut, number)
    ]
    return next(cluster.map_tasks(label_slice, [pair], (cut, folder, tuple(killers))))


def make(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    maps: Sequence[ArtifactFile],
    cut: Cut,
    progress: Callable[[int, int], None],
    largest: int = 0,
) -> dict[str, Any]:
    """Compute the labels of slices with Ray tasks.

    Args:
        folder: empty folder that takes the files.
        pieces: slices of the shards.
        maps: files of class maps, named after the slices.
        cut: the rule.
        progress: called with (slices done, slices in all).
        largest: pixels of the largest image, by which memory bounds the number of tasks; 0 if it
            is not known.

    Returns:
        Facts about the artifact for its manifest.
    """
    by_name = {file.stem: file for file in maps}
    pairs = [(piece, by_name[piece.name]) for piece in pieces]
    lost = partial(_label_survivors, cut=cut, folder=folder)
    need = min(cut.most_bytes, crf_bytes(largest, PLANNED_LABELS)) if cut.crf else 0
    results = list(cluster.map_tasks(label_slice, pairs, (cut, folder), progress, lost, need))
    return {
        "images": sum(count for count, _, _ in results),
        "levels": list(cut.levels),
        "unrefined": [id for _, killers, _ in results for id in killers],
        TOO_LARGE: [id for _, _, large in results for id in large],
    }


def copy_masks(
    folder: ArtifactFolder, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Write the true masks of slices as labels with Ray tasks, for an upper bound.

    Args:
        folder: empty folder that takes the files.
        pieces: slices of the shards.
        progress: called with (slices done, slices in all).

    Returns:
        Facts about the artifact for its manifest.

    Raises:
        InputError: an image has no mask.
    """
    counts = list(cluster.map_tasks(mask_slice, list(pieces), (folder,), progress))
    return {"images": sum(counts)}


def mask_slice(piece: shards.Slice, folder: ArtifactFolder) -> int:
    """Write the true masks of one slice as labels; return the number of images. A Ray task."""
    rows = []
    for row in shards.read(piece, ("id", "mask")):
        if row["mask"] is None:
            raise InputError(
                f"image {row['id']} has no mask to learn from; choose a split with masks"
            )
        rows.append((row["id"], decode_mask(row["mask"], row["id"])))
    return label_maps.write(label_maps.file_of_slice(folder, piece), rows)
