"""The learners after the classifier: IRN's boundaries and the segmenter.

They learn from labels that the pipeline made, never from the data set's masks.
Shapes: B batch, N foreground classes, H W pixels, h w grid.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...method import OUTSIDE, Batch, Learner
from ...models.backbones import Backbone
from ...models.boundary_net import BoundaryNet
from ...models.deeplab import DeepLabV2
from ...models.segmenter import Segmenting
from ...models.upernet import UperNet
from ...ops.affinity_loss import affinity_losses


def shrunk(labels: Tensor, like: Tensor) -> Tensor:
    """Labels `[B,H,W]` on the grid of another tensor: each position's middle pixel."""
    size = like.shape[-2:]
    return F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].long()


class Boundaries(Learner):
    """IRN's boundary network, from confident seeds.

    Args:
        radius: of the pairs that it learns from, positions at stride 4.
    """

    name: ClassVar[str] = "irn"

    def __init__(self, radius: int = 10) -> None:
        self.radius = radius

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> BoundaryNet:
        return BoundaryNet(backbone, frozen_stages)

    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        assert batch.plane is not None
        boundary = network(batch.images).float().sigmoid()
        return affinity_losses(boundary, shrunk(batch.plane, boundary), self.radius)


class Segmenter(Learner):
    """A segmenter from labels of pixels.

    Args:
        name: deeplabv2 or upernet.
        scales: smaller scales that take part beside the image, in training and at the test.
        balanced: whether background and foreground count the same, however many pixels.
        stride: pixels a position of DeepLabV2's last stage, 8 or 16.
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
        self.least = 2 if name == "upernet" else 1  # type: ignore[misc]

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Segmenting:
        if self.name == "upernet":
            return UperNet(backbone, classes + 1, frozen_stages)
        if backbone.strides[3] > self.stride:
            backbone.dilate()
        return DeepLabV2(backbone, classes + 1, frozen_stages)

    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        assert batch.plane is not None
        total = [
            weight * self._cross_entropy(logits.float(), batch.plane)
            for weight, logits in network.supervised(batch.images, self.scales)
        ]
        return {"cross_entropy": torch.stack(total).sum()}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Over the known pixels of labels made as small as the logits; zero without any."""
        small = shrunk(labels, logits)
        known = small != OUTSIDE
        values = F.cross_entropy(logits, small, ignore_index=OUTSIDE, reduction="none")
        if not self.balanced:
            return values.sum() / known.sum().clamp(min=1)
        parts = [known & (small == 0), known & (small > 0)]
        means = [(values * part).sum() / part.sum().clamp(min=1) for part in parts]
        return torch.stack(means).sum() / 2
