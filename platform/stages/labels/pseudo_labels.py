"""Labels of pixels from class maps: cut, refined by DenseCRF, or only where they are certain.

Ray tasks, one a slice. A process that DenseCRF kills takes neither the job nor its slice along:
the image is found and named, and keeps its unrefined labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...data.images import decode_image, decode_mask
from ...errors import InputError
from ...metrics import VOID
from ...ops.crf import CRF, Refiner, best_labels
from ...ray_runtime import cluster

Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How class maps become labels.

    Attributes:
        levels: the background's score, or where maps bring a background plane the factor on it;
            one level: labels. Two: what is foreground at the first is certain, what is
            background at both is certain, the rest is unknown (255).
        crf: refines the labels of each level; none: they are cut.
        power: class maps enter to it, and levels are compared with the result.
        least: classes whose maps reach it nowhere do not enter. DenseCRF's time is that of the
            classes, and a segmenter gives some probability to each.
    """

    levels: tuple[float, ...]
    crf: CRF | None = None
    power: float = 1.0
    least: float = 0.0


def scores_of(maps: ClassMaps, level: float, power: float = 1.0) -> NDArray[np.float32]:
    """`[L,H,W]`: the background's score, then those of the classes, at the image's size."""
    own = int(bool(maps.classes) and maps.classes[0] == 0)
    out = np.full((1 + len(maps.classes) - own, maps.height, maps.width), level, np.float32)
    if maps.classes:
        found = torch.from_numpy(maps.planes).float()[None]
        size = (maps.height, maps.width)
        full = F.interpolate(found, size, mode="bilinear", align_corners=False)[0].numpy() ** power
        out[1:] = full[own:]
        if own:
            out[0] = level * full[0]
    return out


def reaching(maps: ClassMaps, least: float) -> ClassMaps:
    """The class maps that are at least as high somewhere, and the background's."""
    high = maps.planes.max((1, 2), initial=0) >= least
    kept = [k for k, value in enumerate(maps.classes) if value == 0 or high[k]]
    classes = tuple(maps.classes[k] for k in kept)
    return replace(maps, classes=classes, planes=maps.planes[kept])


def labels_of(image: NDArray[np.uint8], maps: ClassMaps, cut: Cut) -> Labels:
    """Mask values `[H,W]`, 255 where unknown."""
    maps = reaching(maps, cut.least)
    values = np.array([0, *(c for c in maps.classes if c > 0)], np.uint8)
    refiner = Refiner(image, cut.crf) if cut.crf else None
    scores = (scores_of(maps, level, cut.power) for level in cut.levels)
    found = [values[best_labels(of_level, refiner)] for of_level in scores]
    if len(found) == 1:
        return found[0]
    sure, wide = found
    return np.where(sure > 0, sure, np.where(wide == 0, 0, VOID)).astype(np.uint8)


def label_rows(
    pair: tuple[shards.Slice, str], cut: Cut, only: int | None = None
) -> list[tuple[str, Labels]]:
    """The labels of the images of one slice, or of one of them."""
    piece, path = pair
    rows = shards.read(piece, ("id", "image"))
    found = {m.id: m for m in class_maps.read([Path(path)])}
    chosen = rows if only is None else rows[only : only + 1]
    return [
        (r["id"], labels_of(decode_image(r["image"], r["id"]), found[r["id"]], cut)) for r in chosen
    ]


def label_slice(
    pair: tuple[shards.Slice, str], cut: Cut, folder: str, unrefined: tuple[int, ...] = ()
) -> tuple[int, list[str]]:
    """A task: writes the labels of one slice; returns how many, and which are unrefined."""
    torch.set_num_threads(1)
    plain = Cut(levels=cut.levels, power=cut.power)
    rows: list[tuple[str, Labels]] = []
    for number in range(pair[0].rows) if unrefined else ():
        rows += label_rows(pair, plain if number in unrefined else cut, number)
    rows = rows or label_rows(pair, cut)
    label_maps.write(label_maps.file_of(folder, pair[0]), rows)
    return len(rows), [rows[number][0] for number in unrefined]


def _without_deadly(pair: tuple[shards.Slice, str], cut: Cut, folder: str) -> tuple[int, list[str]]:
    """A slice whose process died: finds the images that kill it and refines the others."""
    deadly = [
        number
        for number in range(pair[0].rows)
        if not cluster.survives(label_rows, pair, cut, number)
    ]
    return next(cluster.each(label_slice, [pair], (cut, folder, tuple(deadly))))


def make(
    folder: Path,
    pieces: Sequence[shards.Slice],
    maps: Sequence[Path],
    cut: Cut,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: labels of all slices, in `folder`.

    Args:
        folder: empty.
        pieces: the images.
        maps: the class maps' files, named after the slices.
        cut: how.
        progress: called with (slices done, slices in all).
    """
    by_name = {p.stem: str(p) for p in maps}
    pairs = [(piece, by_name[piece.name]) for piece in pieces]
    lost = partial(_without_deadly, cut=cut, folder=str(folder))
    done = list(cluster.each(label_slice, pairs, (cut, str(folder)), progress, lost))
    unrefined = [id for _, ids in done for id in ids]
    return {"images": sum(n for n, _ in done), "levels": list(cut.levels), "unrefined": unrefined}


def copy_masks(
    folder: Path, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """The stage that gives the true masks as labels, for an upper bound.

    Raises:
        InputError: an image has no mask.
    """
    done = list(cluster.each(mask_slice, list(pieces), (str(folder),), progress))
    return {"images": sum(done)}


def mask_slice(piece: shards.Slice, folder: str) -> int:
    """A task: the masks of one slice; returns how many."""
    rows = []
    for row in shards.read(piece, ("id", "mask")):
        if row["mask"] is None:
            raise InputError(f"image {row['id']} has no mask to learn from")
        rows.append((row["id"], decode_mask(row["mask"], row["id"])))
    return label_maps.write(label_maps.file_of(folder, piece), rows)
