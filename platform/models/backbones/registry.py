"""The table of backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch

from ...errors import InputError
from .base import Backbone
from .convnets import VGG16, MobileNetV2, ResNet, Small
from .from_timm.building import PREFIX, build_from_timm, check_rules
from .from_timm.positions import PositionKind
from .from_timm.vit import SizeKind


def _wide() -> Backbone:
    from .wide_resnet import WideResNet38

    return WideResNet38()


def _swin(size: str) -> Backbone:
    import torchvision

    from .swin import Swin

    return Swin(getattr(torchvision.models, f"swin_{size}")(weights=None))


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


def build(
    name: str, positions: PositionKind = "timm", sizes: SizeKind = "pad", final_norm: bool = True
) -> Backbone:
    """Build the backbone called `name` with random weights.

    Args:
        name: a name in `BACKBONES`, or `timm:` before a name of timm.
        positions: see `from_timm.vit.ViT`; only for vision transformers.
        sizes: see `from_timm.vit.ViT`; only for vision transformers.
        final_norm: see `from_timm.vit.ViT`; only for vision transformers.

    Raises:
        InputError: there is no such backbone; the message lists all backbones, or timm's nearest
            names. Or it is no vision transformer, but has an option of one.
    """
    if name.startswith(PREFIX):
        return build_from_timm(name.removeprefix(PREFIX), positions, sizes, final_norm)
    if name not in BACKBONES:
        raise InputError(
            f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}, and timm:NAME"
        )
    check_rules(name, positions, sizes, final_norm)
    return BACKBONES[name]()


@lru_cache(maxsize=16)
def outline(name: str) -> Backbone:
    """Return a backbone that holds no values: its channels and strides, in little time."""
    with torch.device("meta"):
        return build(name)


@lru_cache(maxsize=16)
def check_stride(name: str, stride: int) -> None:
    """Check that the segmenter deeplabv2 can have a backbone at a stride, 8 or 16.

    Raises:
        InputError: the backbone cannot be dilated, or timm has no such backbone.
    """
    if not name.startswith((PREFIX, "swin")):
        return
    with torch.device("meta"):
        backbone = build(name)
        if backbone.strides[3] > stride:
            backbone.dilate()
