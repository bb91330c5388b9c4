"""IRN's boundary network: one plane of boundary logits from all stages of a fixed backbone.

Source: Ahn et al., CVPR 2019; widths from the authors' code. The displacement branch, which only
instance masks need, shares no parameter with it and is left out.
Shapes: B batch, H W pixels, h w grid at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.experiment import Enlarging
from ..ops.maps import enlarge_and_cut, grid_size
from .backbones import Backbone
from .network import Trainable

WIDTH, GROUPS = 32, 4


class BoundaryNet(Trainable):
    """A network that predicts class boundaries.

    A 1x1 convolution maps each grid of the backbone to 32 channels; another joins all grids.

    Args:
        backbone: gives the feature grids.
        frozen_stages: how many of the first stages take no gradient; IRN freezes all four.
        enlarging: how coarser grids come to stride 4: `stretch` resizes them to it; `irn` enlarges
            them by the ratio of the strides and cuts them to it, where they are large enough.
    """

    def __init__(
        self, backbone: Backbone, frozen_stages: int = 4, enlarging: Enlarging = "stretch"
    ) -> None:
        super().__init__(backbone, frozen_stages)
        self.enlarging = enlarging
        self.taps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, WIDTH, 1, bias=False), nn.GroupNorm(GROUPS, WIDTH))
            for c in backbone.tap_channels
        )
        self.join = nn.Conv2d(WIDTH * len(self.taps), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the boundary logits `[B,h,w]` of images `[B,3,H,W]`."""
        size = grid_size(images.shape[2], images.shape[3])
        taps = zip(self.taps, self.backbone.taps(images), self.backbone.tap_strides, strict=True)
        grids = [F.relu(self._enlarged(tap(x), stride, size)) for tap, x, stride in taps]
        out: Tensor = self.join(torch.cat(grids, 1))
        return out[:, 0]

    def _enlarged(self, x: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        """Return a grid `[B,D,h,w]` at some stride on the grid at stride 4 of `size`."""
        covered = all(stride * side >= 4 * n for side, n in zip(x.shape[2:], size, strict=True))
        if self.enlarging == "irn" and stride % 4 == 0 and covered:
            return enlarge_and_cut(x, stride // 4, size)
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
