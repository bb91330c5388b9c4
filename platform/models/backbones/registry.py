"""The table of backbones by name."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import InputError
from .base import Backbone
from .convnets import VGG16, MobileNetV2, ResNet, Small


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
    """Build the backbone called `name` with random weights.

    Raises:
        InputError: there is no such backbone; the message lists all backbones.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}")
    return BACKBONES[name]()
