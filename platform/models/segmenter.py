"""What segmenters have in common: logits at several scales.

Shapes: B batch, C classes with background, H W pixels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .network import Trainable


class Segmenting(Trainable):
    """A network that turns `[B,3,H,W]` into logits `[B,C,h,w]`."""

    def views(self, images: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Logits of the image, of each smaller scale, and their element-wise maximum, in this
        order; the first and the last on the image's grid. Without scales the image's alone."""
        whole: Tensor = self(images)
        if not scales:
            return [whole]
        parts: list[Tensor] = []
        for scale in scales:
            size = [max(1, round(n * scale)) for n in images.shape[2:]]
            small = F.interpolate(images, size, mode="bilinear", align_corners=False)
            parts.append(self(small))
        large = [
            F.interpolate(p, whole.shape[2:], mode="bilinear", align_corners=False) for p in parts
        ]
        return [whole, *parts, torch.stack([whole, *large]).amax(0)]

    def supervised(self, images: Tensor, scales: Sequence[float]) -> list[tuple[float, Tensor]]:
        """The logits that training compares with labels, each with its weight."""
        return [(1.0, logits) for logits in self.views(images, scales)]
