"""Initial class maps of a CLIP method from stored tokens, as Ray Data actors.

An artifact holds for each slice of the shards

    NAME.parquet   the initial class maps, normalised, for scores
    NAME.arrays    for each image with a label its maps as they are, float32 `[K,h,w]`, on patches
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.formats import class_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...method import CLIPMethod
from ...ops.maps import grid_size
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..inference import actors
from . import image_arrays, networks
from .image_arrays import ImageArray


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of the initial class maps of a split.

    Attributes:
        method: the method.
        classes: N, the number of foreground classes.
        network: file of the CLIP network.
        embeddings: file of the text embeddings.
        tokens: folder of the tokens, one file for each slice.
    """

    method: CLIPMethod
    classes: int
    network: ArtifactFile
    embeddings: ArtifactFile
    tokens: ArtifactFolder


class GradientMaps(actors.Actor):
    """An actor that computes initial class maps.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, (1.0,))
        self.visual = networks.load(job.network).visual.to(self.device)
        embeddings, self.scale = networks.read_embeddings(job.embeddings)
        self.embeddings = embeddings.to(self.device)

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, ("id", "height", "width"))
        tokens = self.job.tokens / f"{piece.name}{image_arrays.SUFFIX}"
        maps = list(self._maps(tokens))
        image_arrays.write(self.job.folder / f"{piece.name}{image_arrays.SUFFIX}", maps)
        by_id = {image.id: self._normalized(image) for image in maps}
        planes = [by_id.get(row["id"]) or without_classes(row) for row in rows]
        class_maps.write(self.job.folder / f"{piece.name}.parquet", planes)
        return len(rows)

    def _maps(self, tokens: ArtifactFile) -> Iterator[ImageArray]:
        for image in image_arrays.read(tokens):
            present = list(image.labels)
            rows = [*present, *range(self.job.classes, len(self.embeddings))]
            values = torch.from_numpy(image.values).to(self.device).float()
            maps = self.job.method.gradient_maps(
                self.visual, values, self.embeddings[rows], self.scale, len(present)
            )
            planes = maps.reshape(len(present), *image.grid).cpu().numpy()
            yield replace(image, values=planes)

    def _normalized(self, image: ImageArray) -> ClassMaps:
        return as_class_maps(image, self.job.method.normalize(torch.from_numpy(image.values)))


def as_class_maps(image: ImageArray, planes: Tensor) -> ClassMaps:
    """Return planes in 0..1 as the class maps of an image, bilinearly resized to stride 4.

    Args:
        image: an array of the image.
        planes: `[K,h,w]` on the grid of patches.
    """
    size = grid_size(image.height, image.width)
    resized = F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]
    return ClassMaps(
        id=image.id,
        classes=tuple(n + 1 for n in image.labels),
        planes=resized.half().cpu().numpy(),
        height=image.height,
        width=image.width,
    )


def without_classes(row: dict[str, Any]) -> ClassMaps:
    """Return the class maps of an image without labels, all of which is background."""
    planes = np.zeros((0, *grid_size(row["height"], row["width"])), np.float16)
    return ClassMaps(
        id=row["id"], classes=(), planes=planes, height=row["height"], width=row["width"]
    )
