"""The base class of segmenters, which gives logits at several scales.

Shapes: B batch, C classes with background, H W pixels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .network import Trainable


class SegmentationNetwork(Trainable):
    """A network that maps images `[B,3,H,W]` to logits `[B,C,h,w]`."""

    def logits_by_view(self, images: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits of images at full size, at each scale, and their maximum.

        Args:
            images: `[B,3,H,W]`.
            scales: factors of further sizes.

        Returns:
            Logits `[B,C,h,w]` at full size, then at each scale on its own grid, then the
            element-wise maximum of all on the grid of the full size. Without scales the logits at
            full size alone.
        """
        whole: Tensor = self(images)
        if not scales:
            return [whole]
        scaled: list[Tensor] = []
        for scale in scales:
            size = [max(1, round(n * scale)) for n in images.shape[2:]]
            small = F.interpolate(images, size, mode="bilinear", align_corners=False)
            scaled.append(self(small))
        large = [
            F.interpolate(v, whole.shape[2:], mode="bilinear", align_corners=False) for v in scaled
        ]
        return [whole, *scaled, torch.stack([whole, *large]).amax(0)]

    def supervised_logits(
        self, images: Tensor, scales: Sequence[float]
    ) -> list[tuple[float, Tensor]]:
        """Return the logits that training compares with labels, each with its weight."""
        return [(1.0, logits) for logits in self.logits_by_view(images, scales)]
