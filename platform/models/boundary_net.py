"""IRN's boundary network: one plane of boundary logits from all stages of a fixed backbone.

Source: Ahn et al., CVPR 2019; widths from the authors' code. The displacement branch, which only
instance masks need, shares no parameter with it and is left out.
Shapes: B batch, H W pixels, h w grid at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.maps import grid_size
from .backbones import Backbone
from .network import Trainable

WIDTH, GROUPS = 32, 4


class BoundaryNet(Trainable):
    """A network that predicts class boundaries.

    A 1x1 convolution maps each grid of the backbone to 32 channels; another joins all grids.

    Args:
        backbone: gives the feature grids.
        frozen_stages: how many of the first stages take no gradient; IRN freezes all four.
    """

    def __init__(self, backbone: Backbone, frozen_stages: int = 4) -> None:
        super().__init__(backbone, frozen_stages)
        self.taps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, WIDTH, 1, bias=False), nn.GroupNorm(GROUPS, WIDTH))
            for c in backbone.tap_channels
        )
        self.join = nn.Conv2d(WIDTH * len(self.taps), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the boundary logits `[B,h,w]` of images `[B,3,H,W]`."""
        size = grid_size(images.shape[2], images.shape[3])
        grids = [
            F.relu(F.interpolate(tap(x), size, mode="bilinear", align_corners=False))
            for tap, x in zip(self.taps, self.backbone.taps(images), strict=True)
        ]
        out: Tensor = self.join(torch.cat(grids, 1))
        return out[:, 0]
