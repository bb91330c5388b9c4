"""Learners that train on pseudo labels: IRN's boundary network and the segmenter.

They learn from labels that the pipeline made, never from the data set's masks.
Shapes: B batch, N foreground classes, H W pixels, h w grid.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...config.experiment import Enlarging
from ...method import PADDING, Batch, Learner
from ...models.backbones import Backbone
from ...models.boundary_net import BoundaryNet
from ...models.deeplab import DeepLabV2
from ...models.segmenter import SegmentationNetwork
from ...models.upernet import UperNet
from ...ops.affinity_loss import affinity_losses
from ...ops.collectives import share_of_total


def shrunk(labels: Tensor, like: Tensor) -> Tensor:
    """Return labels `[B,H,W]` on the grid of another tensor: the middle pixel of each position."""
    size = like.shape[-2:]
    return F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].long()


def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy `[B,H,W]` of logits `[B,C,h,w]` that are enlarged to their labels.

    Source: mmsegmentation. Enlarged logits exist for one image at a time; the backward pass forms
    them anew.
    """

    def of_image(number: int) -> Tensor:
        one = logits[number : number + 1]
        large = F.interpolate(one, labels.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(
            large, labels[number : number + 1], ignore_index=PADDING, reduction="none"
        )

    numbers = range(len(labels))
    rows = [checkpoint(of_image, k, use_reentrant=False, preserve_rng_state=False) for k in numbers]
    return torch.cat(rows)


class Boundaries(Learner):
    """IRN's boundary network, trained on confident seeds.

    Args:
        radius: radius of the pairs that are learnt from, in positions at stride 4.
        pairs: positions whose pairs are learnt from, see `ops.affinity_loss.affinity_losses`.
        enlarging: see `models.boundary_net.BoundaryNet`.
    """

    name: ClassVar[str] = "irn"

    def __init__(
        self, radius: int = 10, pairs: str = "all", enlarging: Enlarging = "stretch"
    ) -> None:
        self.radius, self.pairs, self.enlarging = radius, pairs, enlarging

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> BoundaryNet:
        return BoundaryNet(backbone, frozen_stages, self.enlarging)

    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        assert batch.plane is not None
        boundary = network(batch.images).float().sigmoid()
        return affinity_losses(boundary, shrunk(batch.plane, boundary), self.radius, self.pairs)


class Segmenter(Learner):
    """A segmentation network trained on pseudo labels.

    Args:
        scales: smaller image scales that are used besides the image itself, in training and
            inference.
        balanced: whether background and foreground have the same weight, however many pixels they
            have.
        stride: pixels per position of DeepLabV2's last stage, 8 or 16.
        name: "deeplabv2" or "upernet".
    """

    advice: ClassVar[str] = ", or set segment.balanced=true"

    def __init__(
        self,
        scales: tuple[float, ...] = (0.75, 0.5),
        balanced: bool = False,
        stride: int = 8,
        name: str = "deeplabv2",
    ) -> None:
        self.scales, self.balanced, self.stride = scales, balanced, stride
        self.name = name  # type: ignore[misc]
        self.least_images = 2 if name == "upernet" else 1  # type: ignore[misc]

    def network(
        self, classes: int, backbone: Backbone, frozen_stages: int = 0
    ) -> SegmentationNetwork:
        if self.name == "upernet":
            return UperNet(backbone, classes + 1, frozen_stages)
        if backbone.strides[3] > self.stride:
            backbone.dilate()
        return DeepLabV2(backbone, classes + 1, frozen_stages)

    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        assert batch.plane is not None
        terms = [
            weight * self._cross_entropy(logits.float(), batch.plane)
            for weight, logits in network.supervised_logits(batch.images, self.scales)
        ]
        return {"cross_entropy": torch.stack(terms).sum()}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy over the known pixels of all workers; zero without any.

        UperNet's logits are enlarged to the labels, as in mmsegmentation; DeepLabV2's labels are
        brought to the grid of the logits, as in deeplab-pytorch.

        Args:
            logits: `[B,N+1,h,w]`.
            labels: `[B,H,W]`, `PADDING` where unknown.
        """
        if self.name == "upernet":
            values = pixel_losses(logits, labels)
        else:
            labels = shrunk(labels, logits)
            values = F.cross_entropy(logits, labels, ignore_index=PADDING, reduction="none")
        known = labels != PADDING
        if not self.balanced:
            return values.sum() / share_of_total(known.sum())
        groups = [known & (labels == 0), known & (labels > 0)]
        means = [(values * group).sum() / share_of_total(group.sum()) for group in groups]
        return torch.stack(means).sum() / 2
