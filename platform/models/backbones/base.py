"""Backbones with four named stages, c1 to c4, the last at output stride 16.

Strides follow the IRN line: the last stage keeps the grid of the one before and is not dilated.
Names of parameters are torchvision's, so that torchvision weight files fit. It is imported where
it is needed only: it takes longer than torch, and most tasks of Ray do without.
Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

STAGES = ("c1", "c2", "c3", "c4")


class Backbone(nn.Module, ABC):
    """A network backbone cut into the stages c1 to c4.

    Attributes:
        channels: channels of c1 to c4, in this order.
        strides: input pixels per cell of c1 to c4, in this order.
        rectified: whether blocks give rectified features `[B,D,H,W]`, as those of a ResNet.
        halved: whether it computes in bfloat16; features are float32 all the same.
        pretrained: whether it starts from published ImageNet weights. Where it does, batch
            normalisation always uses running statistics, also while training (IRN).
    """

    channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (4, 8, 16, 16)
    pretrained: bool = True
    rectified: bool = True
    halved: bool = False

    @abstractmethod
    def stage(self, name: str, x: Tensor) -> Tensor:
        """The output of stage `name` from that of the stage before (c1: from images)."""

    @abstractmethod
    def stage_modules(self, name: str) -> list[nn.Module]:
        """The modules that make up stage `name`, for freezing."""

    def blocks(self, name: str) -> list[nn.Module]:
        """The modules of stage `name` whose outputs are features, the last the stage's own."""
        return self.stage_modules(name)

    def taps(self, images: Tensor) -> list[Tensor]:
        """All feature grids that boundaries are read from, finest first: the stages; a ResNet
        adds what its first stage starts from (IRN)."""
        return list(self(images).values())

    @property
    def tap_channels(self) -> tuple[int, ...]:
        """Of `taps`."""
        return self.channels

    def dilate(self) -> None:
        """Takes the stride of c3 away and dilates c3 by 2 and c4 by 4: output stride 8."""
        rate = 1
        for name in ("c3", "c4"):
            for block in self.blocks(name):
                convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
                for conv in convs:
                    if conv.kernel_size == (3, 3):
                        conv.dilation = conv.padding = (rate, rate)
                    if conv.stride == (2, 2):
                        conv.stride = (1, 1)
                rate = max(rate, 2 if name == "c3" else 4)
        self.strides = (self.strides[0], self.strides[1], self.strides[1], self.strides[1])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`[B,3,H,W]` normalised images to `{"c1": [B,D,H/4,W/4], ..., "c4": ...}`."""
        if not self.halved:
            return self._stages(images)
        with torch.autocast(images.device.type, torch.bfloat16):
            found = self._stages(images)
        return {name: features.float() for name, features in found.items()}

    def _stages(self, images: Tensor) -> dict[str, Tensor]:
        out, x = {}, images
        for name in STAGES:
            out[name] = x = self.stage(name, x)
        return out
