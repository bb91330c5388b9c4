"""Networks with fewer channels than the published ones, which tests build and run in less time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from torchvision.models import SwinTransformer, vgg
from torchvision.models.resnet import ResNet


@contextlib.contextmanager
def narrow_resnets() -> Iterator[None]:
    """Let the last three stages of ResNets that are made here have an eighth of their channels."""
    make = ResNet._make_layer

    def make_narrow(self: ResNet, block: Any, planes: int, *arguments: Any, **options: Any) -> Any:
        planes = planes if planes == 64 else planes // 8
        return make(self, block, planes, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResNet, "_make_layer", make_narrow)
        yield


@contextlib.contextmanager
def narrow_vgg19() -> Iterator[None]:
    """Let a VGG-19 that is made here have a quarter of its channels."""
    widths = [width if isinstance(width, str) else width // 4 for width in vgg.cfgs["E"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vgg.cfgs, "E", widths)
        yield


def narrow_swin(weights: None = None) -> SwinTransformer:
    """Return a Swin of a quarter of Swin-T's width, with two blocks in each stage."""
    shape: dict[str, Any] = {"patch_size": [4, 4], "embed_dim": 24, "window_size": [7, 7]}
    return SwinTransformer(depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], **shape)
