"""Convolutional backbones: ResNet, MobileNetV2, VGG-16, and a small network for drawn scenes."""

from __future__ import annotations

from torch import Tensor, nn

from .base import STAGES, SequentialBackbone


class ResNet(SequentialBackbone):
    """ResNet-18, 50 or 101 (torchvision, V1 layout), with stride 1 in layer4.

    Args:
        depth: 18, 50 or 101.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        import torchvision

        backbone = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        for module in backbone.layer4.modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(backbone, name))
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

    @property
    def tap_strides(self) -> tuple[int, ...]:
        return (self.strides[0], *self.strides)


class MobileNetV2(SequentialBackbone):
    """MobileNetV2 (torchvision), in which the block that would reach stride 32 keeps stride 16.

    c4 ends in the 1280-channel convolution, so it is non-negative like the c4 of a ResNet.
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

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        return [m for m in self._cut(name) if isinstance([*m.children()][-1], nn.ReLU6)]

    def stage(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self._cut(name)(x)
        return out

    def _cut(self, name: str) -> nn.Sequential:
        ends = (0, 4, 7, 14, 19)
        number = STAGES.index(name)
        part: nn.Sequential = self.features[ends[number] : ends[number + 1]]
        return part


class Small(SequentialBackbone):
    """Eight convolutions with batch normalisation, trained from scratch on `scenes`.

    Group normalisation hardly trains here (measured): it removes the mean of each image, which
    global average pooling reads.
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


class VGG16(SequentialBackbone):
    """VGG-16 (torchvision) without its last pooling; c4 is conv5, and pooling rounds sizes up.

    When dilated (output stride 8), the fourth pooling keeps the grid, with a window of 3, and
    conv5 is dilated by 2 (DeepLab).
    """

    channels = (128, 256, 512, 512)
    pixel_bytes = 1536

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
