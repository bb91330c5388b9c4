"""Backbones with four named stages, c1 to c4, the last at output stride 16.

Strides follow the IRN line: the last stage keeps the grid of the one before and is not dilated.
Names of parameters are torchvision's, so that torchvision weight files fit. It is imported where
it is needed only: it takes longer than torch, and most tasks of Ray do without.
Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import InputError

STAGES = ("c1", "c2", "c3", "c4")


class Backbone(nn.Module, ABC):
    """A network body cut into the stages c1 to c4.

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


class ResNet(Backbone):
    """ResNet-18, 50 or 101 (torchvision, V1 layout); layer4 with stride 1."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        import torchvision

        body = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        for module in body.layer4.modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(body, name))
        width = 64 if depth < 50 else 256
        self.channels = (width, 2 * width, 4 * width, 8 * width)

    def stage_modules(self, name: str) -> list[nn.Module]:
        stem = ("conv1", "bn1", "relu", "maxpool") if name == "c1" else ()
        return [getattr(self, child) for child in (*stem, f"layer{name[1]}")]

    def blocks(self, name: str) -> list[nn.Module]:
        return list(self.stage_modules(name)[-1].children())

    def stage(self, name: str, x: Tensor) -> Tensor:
        for module in self.stage_modules(name):
            x = module(x)
        return x

    def taps(self, images: Tensor) -> list[Tensor]:
        *stem, layer1 = self.stage_modules("c1")
        x = images
        for module in stem:
            x = module(x)
        out, x = [x], layer1(x)
        for name in STAGES[1:]:
            out.append(x)
            x = self.stage(name, x)
        return [*out, x]

    @property
    def tap_channels(self) -> tuple[int, ...]:
        return (64, *self.channels)


class MobileNetV2(Backbone):
    """MobileNetV2 (torchvision); the block that would reach stride 32 keeps stride 16.

    c4 ends in the 1280-channel convolution, so it is non-negative like a ResNet's.
    """

    channels = (24, 32, 96, 1280)

    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.features = torchvision.models.mobilenet_v2(weights=None).features
        for module in self.features[14].modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)

    def stage_modules(self, name: str) -> list[nn.Module]:
        return list(self._cut(name))

    def stage(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self._cut(name)(x)
        return out

    def _cut(self, name: str) -> nn.Sequential:
        ends = (0, 4, 7, 14, 19)
        number = STAGES.index(name)
        part: nn.Sequential = self.features[ends[number] : ends[number + 1]]
        return part


class Small(Backbone):
    """Eight convolutions, trained from scratch on `scenes`, with batch statistics.

    Group normalisation hardly trains here (measured): it takes away each image's mean, which is
    what global average pooling reads.
    """

    channels = (24, 48, 96, 128)
    strides = (2, 4, 8, 8)
    pretrained = False

    def __init__(self) -> None:
        super().__init__()
        width = 3
        for name, channels, stride in zip(STAGES, self.channels, (2, 2, 2, 1), strict=True):
            self.add_module(
                name,
                nn.Sequential(
                    *self._conv(width, channels, stride), *self._conv(channels, channels)
                ),
            )
            width = channels

    @staticmethod
    def _conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    def stage_modules(self, name: str) -> list[nn.Module]:
        return [getattr(self, name)]

    def stage(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = getattr(self, name)(x)
        return out


class VGG16(Backbone):
    """VGG-16 (torchvision), without its last pooling; c4 is conv5. Pooling rounds up.

    Dilated (output stride 8) its fourth pooling keeps the grid, by a window of 3, and conv5 is
    dilated by 2 (DeepLab).
    """

    channels = (128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.features = torchvision.models.vgg16(weights=None).features[:30]
        for module in self.features:
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True

    def stage_modules(self, name: str) -> list[nn.Module]:
        return list(self._cut(name))

    def stage(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self._cut(name)(x)
        return out

    def blocks(self, name: str) -> list[nn.Module]:
        return [m for m in self._cut(name) if isinstance(m, nn.ReLU)]

    def _cut(self, name: str) -> nn.Sequential:
        ends = (0, 10, 17, 24, 30)
        number = STAGES.index(name)
        part: nn.Sequential = self.features[ends[number] : ends[number + 1]]
        return part

    def dilate(self) -> None:
        self.features[23] = nn.MaxPool2d(3, 1, 1)
        for module in self._cut("c4"):
            if isinstance(module, nn.Conv2d):
                module.dilation = module.padding = (2, 2)
        self.strides = (4, 8, 8, 8)


def _wide() -> Backbone:
    from .wide_resnet import WideResNet38

    return WideResNet38()


def _swin(size: str) -> Backbone:
    from .swin import Swin

    return Swin(size)


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet18": lambda: ResNet(18),
    "resnet50": lambda: ResNet(50),
    "resnet101": lambda: ResNet(101),
    "mobilenet_v2": MobileNetV2,
    "vgg16": VGG16,
    "wide_resnet38": _wide,
    "swin_t": lambda: _swin("t"),
    "swin_s": lambda: _swin("s"),
    "swin_b": lambda: _swin("b"),
    "small": Small,
}


def build(name: str) -> Backbone:
    """The backbone called `name`, untrained.

    Raises:
        InputError: no such backbone; the message lists those that exist.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}")
    return BACKBONES[name]()
