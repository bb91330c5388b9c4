"""Spreading of class maps by IRN's random walk inside predicted boundaries, as Ray Data actors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.experiment import Enlarging
from ...config.groups.network import Network
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...models.boundary_net import BoundaryNet
from ...ops.maps import enlarge_and_cut
from ...ops.random_walk import random_walk, walk_bytes
from ...records.reduced_images import COARSER_WALK
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..training.label_learners import Boundaries
from . import actors


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of one propagation.

    Attributes:
        network: configuration of the boundary network.
        weights: weight file of the boundary network.
        maps: folder of the class maps, one file for each slice.
        suffix: suffix of the files of class maps at stride 4.
        radius: radius of the walk in positions, see `ops.random_walk.random_walk`.
        beta: exponent of the walk's affinities.
        steps: steps of the walk.
        power: exponent that is applied to the class maps before the walk.
        background: whether a background plane of the class maps takes part in the walk.
    """

    network: Network
    weights: ArtifactFile
    maps: ArtifactFolder
    suffix: str = class_maps.MAPS
    radius: int
    beta: float
    steps: int
    power: float
    background: bool

    @property
    def about(self) -> dict[str, Any]:
        return {"steps": self.steps}


def walk_input(maps: ClassMaps, power: float = 1.0, background: bool = False) -> ClassMaps:
    """Return the class maps that enter the walk.

    Args:
        maps: class maps of one image.
        power: exponent that is applied to the maps.
        background: whether a background plane stays; otherwise it is dropped.
    """
    start = int(not background and bool(maps.classes) and maps.classes[0] == 0)
    return ClassMaps(
        id=maps.id,
        classes=maps.classes[start:],
        planes=maps.planes[start:] ** np.float16(power),
        height=maps.height,
        width=maps.width,
    )


def walked_maps(
    maps: Sequence[ClassMaps],
    boundary: Tensor,
    radius: int,
    beta: float,
    steps: int,
    most_bytes: int,
    enlarging: Enlarging = "stretch",
) -> Iterator[ClassMaps]:
    """Yield class maps after the random walk, divided by the largest value of each image.

    Args:
        maps: class maps of images that have one grid.
        boundary: `[B,h,w]`, 0..1, on that grid.
        radius, beta, steps: see `ops.random_walk.random_walk`.
        most_bytes: memory that the walks of one step may take; so many images walk together, and
            where a single one would take more, its walk has a coarser grid.
        enlarging: whether the maps stay on their grid, or are enlarged by 4 and cut to the image
            before they are divided.
    """
    need = walk_bytes(boundary[0].numel(), most_planes(maps), radius)
    at_once = max(1, most_bytes // need)
    for start in range(0, len(maps), at_once):
        part = slice(start, start + at_once)
        planes = _walked_planes(maps[part], boundary[part], radius, beta, steps, most_bytes)
        if enlarging == "irn":
            planes = enlarge_and_cut(planes, 4, (maps[0].height, maps[0].width))
        largest = planes.amax((1, 2, 3), keepdim=True)
        halves = (planes / (largest + 1e-5)).half().cpu().numpy()
        for image_maps, image_planes in zip(maps[part], halves, strict=True):
            yield replace(image_maps, planes=image_planes[: len(image_maps.planes)])


def _walked_planes(
    maps: Sequence[ClassMaps],
    boundary: Tensor,
    radius: int,
    beta: float,
    steps: int,
    most_bytes: int,
) -> Tensor:
    """Return the planes `[B,N,h,w]` of images after a walk together, see `walked_maps`.

    N is the largest number of planes of an image; other images have zeros there.
    """
    padded = boundary.new_zeros(len(maps), most_planes(maps), *boundary.shape[1:])
    for number, image_maps in enumerate(maps):
        padded[number, : len(image_maps.planes)] = torch.from_numpy(image_maps.planes).to(padded)
    grid = boundary.shape[1], boundary.shape[2]
    coarse = walk_grid(grid, padded.shape[1], radius, most_bytes)
    walked = random_walk(
        on_grid(padded, coarse), on_grid(boundary[:, None], coarse)[:, 0], radius, beta, steps
    )
    return on_grid(walked, grid)


def most_planes(maps: Sequence[ClassMaps]) -> int:
    """Return the largest number of planes of an image, at least one."""
    return max(1, *(len(image_maps.planes) for image_maps in maps))


def walk_grid(grid: tuple[int, int], planes: int, radius: int, most_bytes: int) -> tuple[int, int]:
    """Return the grid of a walk: `grid` where its memory suffices, or the largest that fits."""
    factor = math.sqrt(most_bytes / walk_bytes(math.prod(grid), planes, radius))
    if factor >= 1:
        return grid
    return max(1, int(grid[0] * factor)), max(1, int(grid[1] * factor))


def on_grid(planes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return planes `[B,N,h,w]` on a grid, themselves where they have it already."""
    if planes.shape[2:] == grid:
        return planes
    return F.interpolate(planes, grid, mode="bilinear", align_corners=False)


class Walk(actors.Actor):
    """An inference actor that predicts boundaries and spreads class maps inside them.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, (1.0,))
        learner = Boundaries(enlarging=job.views.enlarging)
        network = actors.load(job.network, learner, 0, job.weights)
        assert isinstance(network, BoundaryNet)
        self.network = self.ready(network)

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        file = self.job.maps / f"{piece.name}{self.job.suffix}"
        stored = class_maps.read_in_order(file, [row["id"] for row in rows])
        options = self.job.power, self.job.background
        maps = [walk_input(image_maps, *options) for image_maps in stored]
        results = dict(self._results(rows, maps))
        edges = label_maps.file_of_slice(self.job.folder, piece, label_maps.EDGES)
        label_maps.write(edges, [(row["id"], results[k][1]) for k, row in enumerate(rows)])
        walked = [results[k][0] for k in range(len(rows))]
        class_maps.write(label_maps.file_of_slice(self.job.folder, piece), walked)
        return len(rows)

    @torch.inference_mode()
    def _results(
        self, rows: Sequence[dict[str, Any]], maps: Sequence[ClassMaps]
    ) -> Iterator[tuple[int, tuple[ClassMaps, label_maps.Plane]]]:
        """Yield for each image its number in `rows`, its maps after the walk and its boundaries."""
        for numbers, images in self.groups(rows):
            pixels = torch.cat(list(self.scaled(images, 1.0)))
            chosen_maps = [maps[k] for k in numbers]
            boundary = self._boundary(pixels, chosen_maps[0].planes.shape[1:])
            options = self.job.radius, self.job.beta, self.job.steps, self.job.views.image_bytes
            grid = boundary.shape[1], boundary.shape[2]
            coarser = [
                image_maps.id
                for image_maps in chosen_maps
                if walk_grid(grid, most_planes([image_maps]), options[0], options[3]) != grid
            ]
            if coarser:
                self.note(COARSER_WALK, coarser)
            walked = list(walked_maps(chosen_maps, boundary, *options, self.job.views.enlarging))
            pictures = (boundary * 255).round().byte().cpu().numpy()
            yield from zip(numbers, zip(walked, pictures, strict=True), strict=True)

    def _boundary(self, images: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return boundaries of images on a grid, from the mean logits over image and mirror image.

        Args:
            images: `[B,3,H,W]`, normalised.
            grid: (h, w).

        Returns:
            `[B,h,w]`, 0..1.
        """
        with self.autocast():
            original, mirrored = self.network(torch.cat([images, images.flip(-1)])).float().chunk(2)
        logits = ((original + mirrored.flip(-1)) / 2)[:, None]
        if logits.shape[2:] != grid:
            logits = F.interpolate(logits, grid, mode="bilinear", align_corners=False)
        strength: Tensor = logits[:, 0].sigmoid()
        return strength
