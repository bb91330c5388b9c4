"""Predictions of a segmenter for whole images, as Ray Data actors.

Predictions are labels at the image's size, or probabilities (float16) of all classes, background
first, stored as class maps: on the grid of the network's largest view, or at stride 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...config.groups.network import Network
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import PROBABILITY_STRIDE, ClassMaps
from ...data.transforms import fit_factor
from ...errors import InputError
from ...models.segmenter import SegmentationNetwork
from ...ops.maps import MIN_PROBABILITY, best_plane, grid_size, merge_flip, merge_scales
from ...storage.artifact_files import ArtifactFile
from ..training.label_learners import Segmenter
from . import actors

SUM_TOLERANCE = 0.01
"""Largest deviation from one of the sum of a position's float16 probabilities."""


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of one prediction.

    Attributes:
        learner: the learner that trained the segmenter.
        network: configuration of the segmenter.
        classes: N, the number of foreground classes.
        weights: weight file of the segmenter.
        probabilities: whether probabilities are written; otherwise labels.
        coarse: whether predictions are brought to stride 8.
        known: whether an image's labels are known: it then has no class but background and these.
        scales: image scales, each with its mirror image; without any, the image itself is the only
            view.
        fit: long and short side that an image is fitted into first.
    """

    learner: Segmenter
    network: Network
    classes: int
    weights: ArtifactFile
    probabilities: bool
    coarse: bool
    known: bool
    scales: tuple[float, ...] = ()
    fit: tuple[int, int] | None = None


class Predict(actors.Actor):
    """An inference actor that predicts labels or probabilities.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, job.scales or (1.0,))
        network = actors.load(job.network, job.learner, job.classes, job.weights)
        assert isinstance(network, SegmentationNetwork)
        self.network = self.ready(network)

    def largest_scale_of(self, height: int, width: int) -> float:
        return self.largest_scale * fit_factor(height, width, self.job.fit)

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        predictions = dict(self._predicted(rows))
        self._write(piece, [(row, predictions[k]) for k, row in enumerate(rows)])
        return len(rows)

    def _write(
        self, piece: shards.Slice, rows: Sequence[tuple[dict[str, Any], NDArray[Any]]]
    ) -> None:
        file = label_maps.file_of_slice(self.job.folder, piece)
        if not self.job.probabilities:
            label_maps.write(file, [(row["id"], prediction) for row, prediction in rows])
            return
        maps = [
            ClassMaps(
                id=row["id"],
                classes=tuple(range(self.job.classes + 1)),
                planes=prediction,
                height=row["height"],
                width=row["width"],
            )
            for row, prediction in rows
        ]
        class_maps.write(file, maps)

    @torch.inference_mode()
    def _predicted(self, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        for numbers, images in self.groups(rows):
            logits = finite(self._logits(images))
            height, width = images[0].shape[:2]
            allowed = None
            if self.job.known:
                labels = [rows[k]["labels"] for k in numbers]
                allowed = allowed_classes(labels, self.job.classes).to(self.device)
            if self.job.probabilities:
                predictions = self._probabilities(logits, (height, width), allowed)
            else:
                predictions = best_plane(logits, (height, width), allowed)[1].cpu().numpy()
            yield from zip(numbers, predictions, strict=True)

    def _probabilities(
        self, logits: Tensor, size: tuple[int, int], allowed: Tensor | None
    ) -> NDArray[np.float16]:
        """Return the probabilities `[B,N+1,h,w]` of images of one size from their logits."""
        if self.job.coarse:
            grid = grid_size(*size, PROBABILITY_STRIDE)
            logits = functional.interpolate(logits, grid, mode="bilinear", align_corners=False)
        if allowed is not None:
            logits[~allowed] = -torch.inf
        return checked(logits.softmax(1).half().cpu().numpy())

    def _logits(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return logits of images of one shape, `[B,N+1,h,w]`.

        With several views they are logarithms of mean probabilities, on the grid of the largest
        view."""
        height, width = images[0].shape[:2]
        scales, factor = self.job.scales, fit_factor(height, width, self.job.fit)
        if not scales:
            return torch.cat([self._view_logits(view) for view in self.scaled(images, factor)])
        shares = []
        for scale in scales:
            merged_views = []
            for view in self.scaled(images, factor * scale):
                probabilities = self._view_logits(torch.cat([view, view.flip(-1)])).softmax(1)
                merged_views.append(merge_flip(*probabilities.chunk(2)))
            shares.append(torch.cat(merged_views))
        height, width = max(share.shape[2:] for share in shares)
        mean = merge_scales(shares, (height, width)) / (2 * len(scales))
        return mean.clamp(min=MIN_PROBABILITY).log()

    def _view_logits(self, pixels: Tensor) -> Tensor:
        """Return the logits of one view of images, float32 `[B,N+1,h,w]`."""
        with self.autocast():
            logits = self.network.logits_by_view(pixels, self.job.learner.scales)[-1]
        return logits.float()


def allowed_classes(labels: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Return which classes images may have, bool `[B,N+1]`: background and each image's labels.

    Args:
        labels: for each image its labels, counted from 0.
        classes: N.
    """
    present = np.stack([shards.multi_hot(image_labels, classes) for image_labels in labels])
    return functional.pad(torch.from_numpy(present) > 0, (1, 0), value=True)


def finite(logits: Tensor) -> Tensor:
    """Return logits unchanged, after checking that they are finite.

    Raises:
        InputError: they are not, because the segmenter's weights are not finite.
    """
    if not logits.isfinite().all():
        raise InputError(
            "the logits of a segmenter are NaN or infinite, because its weights are not finite; "
            "train it again with a lower learning rate"
        )
    return logits


def checked(probabilities: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return probabilities `[B,N+1,h,w]` unchanged, after checking that they add up to one.

    Raises:
        InputError: they do not, because the segmenter's weights are not finite.
    """
    sums = probabilities.astype(np.float32).sum(1)
    if not np.abs(sums - 1).max(initial=0) < SUM_TOLERANCE:
        raise InputError(
            f"the probabilities of a segmenter add up to {sums.max()}, not to 1, because its "
            "weights are not finite; train it again with a lower learning rate"
        )
    return probabilities
