"""Class maps spread inside the boundaries that a network finds, as Ray Data actors (IRN)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.experiment import Network, Views
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...data.transforms import normalized
from ...models.boundary_net import BoundaryNet
from ...ops.random_walk import random_walk
from ..training.label_learners import Boundaries
from . import actors


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that an actor needs to know; `maps` and `folder` are of class maps, by slice; maps
    enter to the `power`, without a background plane of their own unless `background`."""

    network: Network
    weights: str
    maps: str
    folder: str
    radius: int
    beta: float
    steps: int
    power: float
    background: bool
    views: Views


def entering(maps: ClassMaps, power: float = 1.0, background: bool = False) -> ClassMaps:
    """The maps to a power; without a background plane of their own unless it is wanted."""
    first = int(not background and bool(maps.classes) and maps.classes[0] == 0)
    return ClassMaps(
        id=maps.id,
        classes=maps.classes[first:],
        planes=maps.planes[first:] ** np.float16(power),
        height=maps.height,
        width=maps.width,
    )


def spread(
    maps: Sequence[ClassMaps], boundary: Tensor, radius: int, beta: float, steps: int
) -> list[ClassMaps]:
    """The maps of images of one grid after the walk, over the largest value of each image.

    Args:
        maps: of the images.
        boundary: `[B,h,w]`, 0..1, on their grid.
        radius, beta, steps: see `ops.random_walk.random_walk`.
    """
    most = max(len(m.planes) for m in maps)
    block = boundary.new_zeros(len(maps), max(1, most), *boundary.shape[1:])
    for k, m in enumerate(maps):
        block[k, : len(m.planes)] = torch.from_numpy(m.planes).to(block)
    walked = random_walk(block, boundary, radius, beta, steps)
    largest = walked.amax((1, 2, 3), keepdim=True)
    planes = (walked / (largest + 1e-5)).half().cpu().numpy()
    return [
        ClassMaps(
            id=m.id,
            classes=m.classes,
            planes=planes[k, : len(m.planes)],
            height=m.height,
            width=m.width,
        )
        for k, m in enumerate(maps)
    ]


class Walk(actors.Actor):
    """An actor: keeps the boundary network, turns slices into files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views)
        network = actors.load(job.network, Boundaries(), 0, job.weights)
        assert isinstance(network, BoundaryNet)
        self.network = self.ready(network)

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        name = f"{piece.name}.parquet"
        known = {m.id: m for m in class_maps.read([Path(self.job.maps) / name])}
        how = self.job.power, self.job.background
        maps = [entering(known[row["id"]], *how) for row in rows]
        done = dict(self._walked(rows, maps))
        edges = label_maps.file_of(self.job.folder, piece, label_maps.EDGES)
        label_maps.write(edges, [(row["id"], done[k][1]) for k, row in enumerate(rows)])
        class_maps.write(Path(self.job.folder) / name, [done[k][0] for k in range(len(rows))])
        return len(rows)

    @torch.inference_mode()
    def _walked(
        self, rows: Sequence[dict[str, Any]], maps: Sequence[ClassMaps]
    ) -> Iterator[tuple[int, tuple[ClassMaps, label_maps.Plane]]]:
        """The maps after the walk and the boundaries of each image, by place in `rows`."""
        for chosen, images in self.groups(rows):
            pixels = normalized(torch.from_numpy(np.stack(images)).to(self.device))
            own = [maps[k] for k in chosen]
            edge = self._boundary(pixels, own[0].planes.shape[1:])
            walked = spread(own, edge, self.job.radius, self.job.beta, self.job.steps)
            drawn = (edge * 255).round().byte().cpu().numpy()
            yield from zip(chosen, zip(walked, drawn, strict=True), strict=True)

    def _boundary(self, images: Tensor, grid: tuple[int, ...]) -> Tensor:
        """`[B,h,w]`, 0..1: mean over image and mirror image, in logits."""
        with self.autocast():
            one, mirrored = self.network(torch.cat([images, images.flip(-1)])).float().chunk(2)
        logits = ((one + mirrored.flip(-1)) / 2)[:, None]
        if logits.shape[2:] != grid:
            logits = F.interpolate(logits, grid, mode="bilinear", align_corners=False)
        boundary: Tensor = logits[:, 0].sigmoid()
        return boundary


def walk(
    folder: Path, job: Job, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """The stage: class maps of all slices after the walk, in `folder`."""
    total = actors.run(Walk, job, pieces, job.views.actors, progress)
    return {"images": total, "steps": job.steps}
