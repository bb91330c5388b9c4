"""Pixel-adaptive refinement of class maps, as Ray Data actors that compute on the device."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...labels import VOID
from ...ops.refinement.pixel_adaptive import (
    Affinity,
    BackgroundPair,
    background_planes,
    growth,
    refined_planes,
    refinement_bytes,
)
from ...records.reduced_images import SMALLER_VIEWS
from ...storage.artifact_files import ArtifactFolder
from . import actors

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of one pixel-adaptive refinement, of class maps or to the labels of a pair.

    Attributes:
        maps: folder of the class maps, one file for each slice.
        affinity, steps: see `ops.refinement.pixel_adaptive`.
        scale: factor on the size of the image that is refined.
        pair: background scores whose labels are written; None: refined class maps are written.
    """

    maps: ArtifactFolder
    affinity: Affinity
    steps: int
    scale: float
    pair: BackgroundPair | None

    @property
    def about(self) -> dict[str, Any]:
        return {"steps": self.steps}


def refinement_size(
    height: int, width: int, scale: float, planes: int, most_bytes: int
) -> tuple[int, int]:
    """Return the rows and columns at which an image is refined.

    Args:
        height, width: size of the image.
        scale: factor on the size, rounded down to whole pixels.
        planes: number of planes.
        most_bytes: memory that the refinement may take; a larger grid is made smaller.
    """
    rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
    while (need := refinement_bytes(rows, columns, planes)) > most_bytes and rows * columns > 1:
        factor = min(math.sqrt(most_bytes / need), 0.99)
        rows, columns = max(1, int(rows * factor)), max(1, int(columns * factor))
    return rows, columns


def shrunk_images(images: Sequence[Pixels], size: tuple[int, int], device: torch.device) -> Tensor:
    """Return images of one shape, resized bilinearly, one channel at a time.

    Args:
        images: uint8 `[H,W,3]` each.
        size: rows h and columns w.
        device: device of the result.

    Returns:
        Float32 `[B,3,h,w]`, 0..255.
    """
    out = torch.empty(len(images), 3, *size, device=device)
    for number, image in enumerate(images):
        for channel in range(3):
            plane = torch.tensor(image[..., channel], device=device).float()[None, None]
            resized = F.interpolate(plane, size, mode="bilinear", align_corners=False)
            out[number, channel] = resized[0, 0]
    return out


class PixelAdaptation(actors.Actor):
    """An actor that refines the class maps of slices.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, (job.scale,))

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        file = self.job.maps / f"{piece.name}.parquet"
        maps = class_maps.read_in_order(file, [row["id"] for row in rows])
        if self.job.pair:
            maps = [without_background(image_maps) for image_maps in maps]
        results = dict(self._results(rows, maps))
        in_order = [(image_maps, results[number]) for number, image_maps in enumerate(maps)]
        target = label_maps.file_of_slice(self.job.folder, piece)
        if self.job.pair:
            label_maps.write(target, [(m.id, labels) for m, labels in in_order])
        else:
            class_maps.write(target, [replace(m, planes=planes) for m, planes in in_order])
        return len(rows)

    @torch.inference_mode()
    def _results(
        self, rows: Sequence[dict[str, Any]], maps: Sequence[ClassMaps]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield for each image its number in `rows` and its refined planes, or a pair's labels."""
        for numbers, images in self.groups(rows):
            image_by_number = dict(zip(numbers, images, strict=True))
            sizes = [self._size(rows[k], images[0].shape[:2], maps[k]) for k in numbers]
            for size in dict.fromkeys(sizes):
                same = [k for k, its_size in zip(numbers, sizes, strict=True) if its_size == size]
                most = max(self._plane_count(maps[number]) for number in same)
                at_once = max(1, self.job.views.image_bytes // refinement_bytes(*size, most))
                for start in range(0, len(same), at_once):
                    part = same[start : start + at_once]
                    batch = [image_by_number[k] for k in part]
                    results = self._results_of_batch(batch, [maps[k] for k in part], size)
                    yield from zip(part, results, strict=True)

    def _size(
        self, row: dict[str, Any], shape: tuple[int, ...], maps: ClassMaps
    ) -> tuple[int, int]:
        """Return the size at which an image is refined, and note the image if its size is reduced.

        The size depends on the image alone, and not on the images of its batch.

        Args:
            row: row of the shard.
            shape: height and width of the image.
            maps: class maps of the image.
        """
        (height, width), scale, count = shape, self.job.scale, self._plane_count(maps)
        size = refinement_size(height, width, scale, count, self.job.views.image_bytes)
        if size != refinement_size(height, width, scale, count, sys.maxsize):
            self.note(SMALLER_VIEWS, [row["id"]])
        return size

    def _plane_count(self, maps: ClassMaps) -> int:
        """Return the number of planes by which the memory of an image is bounded."""
        count = max(1, len(maps.planes))
        return 2 * (count + 1) if self.job.pair else count

    def _results_of_batch(
        self, images: Sequence[Pixels], maps: Sequence[ClassMaps], size: tuple[int, int]
    ) -> Iterator[NDArray[Any]]:
        job, device = self.job, self.device
        planes = [self._planes(image_maps, size) for image_maps in maps]
        most = max(1, *(len(image_planes) for image_planes in planes))
        padded = torch.zeros(len(maps), most, *size, device=device)
        for number, image_planes in enumerate(planes):
            padded[number, : len(image_planes)] = image_planes
        small = shrunk_images(images, size, device)
        refined = refined_planes(small, padded, job.affinity, job.steps)
        refined /= growth(job.affinity, job.steps)
        for number, image_maps in enumerate(maps):
            image_planes = refined[number, : len(planes[number])]
            image_size = image_maps.height, image_maps.width
            result = (
                pair_labels(image_planes, image_maps.classes, image_size)
                if job.pair
                else image_planes.half()
            )
            yield result.cpu().numpy()

    def _planes(self, maps: ClassMaps, size: tuple[int, int]) -> Tensor:
        """Return the planes of an image before they are refined, `[K,h,w]`."""
        planes = torch.from_numpy(maps.planes).to(self.device).float()[None]
        if not maps.classes:
            return planes[0].new_zeros(0, *size)
        planes = F.interpolate(planes, size, mode="bilinear", align_corners=False)
        return background_planes(planes, self.job.pair)[0] if self.job.pair else planes[0]


def without_background(maps: ClassMaps) -> ClassMaps:
    """Return class maps without a background plane."""
    first = int(bool(maps.classes) and maps.classes[0] == 0)
    return replace(maps, classes=maps.classes[first:], planes=maps.planes[first:])


def pair_labels(planes: Tensor, classes: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Return the labels of an image, uint8 mask values `[H,W]`, 255 where unknown.

    A pixel that is no background for the high score has that foreground class. A pixel that is
    background for both scores is background. All other pixels are unknown.

    Args:
        planes: refined planes `[2(N+1),h,w]` of the high and of the low background score, each with
            its background first; without a class all pixels are background.
        classes: mask values of the N classes.
        size: `(H, W)`.
    """
    if not classes:
        return planes.new_zeros(size, dtype=torch.uint8)
    values = torch.tensor([0, *classes], dtype=torch.uint8, device=planes.device)
    certain, wide = (values[_best_plane(half, size)] for half in planes.chunk(2))
    unknown = torch.where(wide == 0, 0, VOID).to(torch.uint8)
    return torch.where(certain > 0, certain, unknown)


def _best_plane(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the number of the highest plane of each pixel, `[H,W]`, resized one at a time."""
    best = planes.new_full(size, -torch.inf)
    numbers = torch.zeros(size, dtype=torch.long, device=planes.device)
    for number, plane in enumerate(planes):
        full = F.interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        numbers.masked_fill_(full > best, number)
        best = torch.maximum(best, full)
    return numbers
