"""The base classes of backbones: four named stages, c1 to c4, the last usually at stride 16.

Strides follow the IRN line: c4 keeps the grid of c3 and is not dilated. Names of parameters are
torchvision's, so that torchvision weight files fit. Backbones import torchvision only when they
are built: the import takes longer than that of torch, and most Ray tasks do not need it.
Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...errors import InputError

STAGES = ("c1", "c2", "c3", "c4")


class Backbone(nn.Module, ABC):
    """A network backbone cut into the stages c1 to c4.

    Attributes:
        channels: channels of c1 to c4, in this order.
        strides: input pixels per cell of c1 to c4, in this order.
        halved: whether the backbone computes in bfloat16; its output is float32 all the same.
        pretrained: whether the backbone starts from published ImageNet weights. Then batch
            normalisation always uses running statistics, also in training (IRN).
        pixel_bytes: upper bound of the memory in bytes that inference takes for a pixel of an image
            and of its mirror image, with all results; measured by `bench.py huge`.
    """

    channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (4, 8, 16, 16)
    pretrained: bool = True
    halved: bool = False
    pixel_bytes: int = 1024

    @abstractmethod
    def first_stages(self, images: Tensor, count: int) -> dict[str, Tensor]:
        """Return the outputs of the first stages, `{"c1": [B,D,H/4,W/4], "c2": ...}`.

        Args:
            images: `[B,3,H,W]`, normalised with the mean and deviation of ImageNet.
            count: number of stages, 1 to 4.
        """

    @abstractmethod
    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        """Return the parameters that stage `name` adds to the stages before it, for freezing."""

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        """Return those of the blocks of stage `name` whose outputs `[B,D,H,W]` are rectified."""
        return []

    def taps(self, images: Tensor) -> list[Tensor]:
        """Return the feature grids that boundaries are predicted from, finest first.

        They are the outputs of the stages; a ResNet adds the input of its first residual block,
        as IRN does.
        """
        return list(self(images).values())

    @property
    def tap_channels(self) -> tuple[int, ...]:
        """Channels of each grid of `taps`."""
        return self.channels

    @property
    def tap_strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each grid of `taps`."""
        return self.strides

    def dilate(self) -> None:
        """Change the backbone to output stride 8, for the segmenter deeplabv2.

        Raises:
            InputError: the architecture does not allow it.
        """
        raise InputError(
            "this backbone cannot be dilated for the segmenter deeplabv2; use the segmenter upernet"
        )

    def most_pixels(self, image_bytes: int) -> int:
        """Return the largest number of pixels of an image that inference has memory for.

        Args:
            image_bytes: the memory that an image and its mirror image may take, in bytes.
        """
        return image_bytes // self.pixel_bytes

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the output of each stage, `{"c1": [B,D,H/4,W/4], ..., "c4": ...}`.

        Args:
            images: `[B,3,H,W]`, normalised.
        """
        if not self.halved:
            return self.first_stages(images, len(STAGES))
        with torch.autocast(images.device.type, torch.bfloat16):
            stages = self.first_stages(images, len(STAGES))
        return {name: features.float() for name, features in stages.items()}


class SequentialBackbone(Backbone):
    """A backbone whose stages are modules that follow each other."""

    @abstractmethod
    def stage(self, name: str, x: Tensor) -> Tensor:
        """Return the output of stage `name` on the output of the stage before it (c1: on images).

        Args:
            name: c1 to c4.
            x: `[B,D,H,W]`.
        """

    @abstractmethod
    def stage_modules(self, name: str) -> list[nn.Module]:
        """Return the modules that make up stage `name`."""

    def blocks(self, name: str) -> list[nn.Module]:
        """Return the modules of stage `name` whose outputs are features.

        The output of the last module is the output of the stage.
        """
        return self.stage_modules(name)

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        return self.blocks(name)

    def dilate(self) -> None:
        """Take the stride of c3 away and dilate c3 by 2 and c4 by 4, for output stride 8."""
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

    def first_stages(self, images: Tensor, count: int) -> dict[str, Tensor]:
        out, x = {}, images
        for name in STAGES[:count]:
            out[name] = x = self.stage(name, x)
        return out

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        return [p for module in self.stage_modules(name) for p in module.parameters()]
