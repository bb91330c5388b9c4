"""What a segmenter predicts of whole images, as Ray Data actors: labels at the image's size, or
probabilities (float16) on the grid of the network's largest view or at stride 8, kept as class maps
of all classes, background first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...config.experiment import Network, Views
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import COARSE, ClassMaps
from ...data.transforms import normalized
from ...errors import InputError
from ...models.segmenter import Segmenting
from ...ops.maps import grid_size, merge_flip, merge_scales
from ..training.label_learners import Segmenter
from . import actors

SUM_TOLERANCE = 0.01
"""How far a position's probabilities may be from adding up to one, in float16."""
FLOOR = 1e-8
"""Probabilities below count as this before their logarithm is taken."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that an actor needs to know; with `known`, an image has no class but background and its
    labels; without scales, an image is looked at once, without its mirror image."""

    learner: Segmenter
    network: Network
    classes: int
    weights: str
    folder: str
    probabilities: bool
    coarse: bool
    known: bool
    views: Views
    scales: tuple[float, ...] = ()


class Predict(actors.Actor):
    """An actor: keeps the segmenter, turns slices into files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views)
        network = actors.load(job.network, job.learner, job.classes, job.weights)
        assert isinstance(network, Segmenting)
        self.network = self.ready(network)

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        done = dict(self._predicted(rows))
        self._write(piece, [(row, done[k]) for k, row in enumerate(rows)])
        return len(rows)

    def _write(
        self, piece: shards.Slice, rows: Sequence[tuple[dict[str, Any], NDArray[Any]]]
    ) -> None:
        path = Path(label_maps.file_of(self.job.folder, piece))
        if not self.job.probabilities:
            label_maps.write(path, [(row["id"], found) for row, found in rows])
            return
        maps = [
            ClassMaps(
                id=row["id"],
                classes=tuple(range(self.job.classes + 1)),
                planes=found,
                height=row["height"],
                width=row["width"],
            )
            for row, found in rows
        ]
        class_maps.write(path, maps)

    @torch.inference_mode()
    def _predicted(self, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        for chosen, images in self.groups(rows):
            logits = self._logits(images)
            height, width = images[0].shape[:2]
            size = grid_size(height, width, COARSE) if self.job.coarse else (height, width)
            if self.job.coarse or not self.job.probabilities:
                logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
            if self.job.known:
                allowed = possible([rows[k]["labels"] for k in chosen], self.job.classes)
                logits[~allowed.to(self.device)] = -torch.inf
            if self.job.probabilities:
                found = checked(logits.softmax(1).half().cpu().numpy())
            else:
                found = logits.argmax(1).to(torch.uint8).cpu().numpy()
            yield from zip(chosen, found, strict=True)

    def _logits(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Of images of one shape, `[B,C+1,h,w]`; of several views, on the grid of the largest, the
        logarithm of the mean probability."""
        scales = self.job.scales
        if not scales:
            return self._seen(normalized(torch.from_numpy(np.stack(images)).to(self.device)))
        parts = []
        for scale in scales:
            of_scale = []
            for view in self.scaled(images, scale):
                both = self._seen(torch.cat([view, view.flip(-1)])).softmax(1)
                of_scale.append(merge_flip(*both.chunk(2)))
            parts.append(torch.cat(of_scale))
        height, width = max(part.shape[2:] for part in parts)
        mean = merge_scales(parts, (height, width)) / (2 * len(scales))
        return mean.clamp(min=FLOOR).log()

    def _seen(self, pixels: Tensor) -> Tensor:
        """Logits of one view."""
        with self.autocast():
            logits = self.network.views(pixels, self.job.learner.scales)[-1]
        return logits.float()


def possible(labels: Sequence[Sequence[int]], classes: int) -> Tensor:
    """bool `[B,classes+1]`: background and the labels of each image, from 0."""
    named = np.stack([shards.multi_hot(of_image, classes) for of_image in labels])
    return functional.pad(torch.from_numpy(named) > 0, (1, 0), value=True)


def checked(probabilities: NDArray[np.float16]) -> NDArray[np.float16]:
    """Probabilities `[B,C,h,w]` as they are.

    Raises:
        InputError: they do not add up to one, because the segmenter's weights are not finite.
    """
    total = probabilities.astype(np.float32).sum(1)
    if not np.abs(total - 1).max(initial=0) < SUM_TOLERANCE:
        raise InputError(f"a segmenter's probabilities add up to {total.max()}, not to 1")
    return probabilities


def predict(
    folder: Path, job: Job, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """The stage: predictions of all slices, in `folder`."""
    return {"images": actors.run(Predict, job, pieces, job.views.actors, progress)}
