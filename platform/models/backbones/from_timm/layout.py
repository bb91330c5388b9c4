"""What a convolutional network of timm has: stages, strides, parameters of each, and memory.

All is found out on the meta device, where nothing is computed.
Shapes: B batch, D channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import InputError
from ..base import STAGES

UNSUITED = (TypeError, AssertionError, ValueError, RuntimeError)
"""Errors with which timm's networks refuse an output stride or a size of images."""
RESULT_BYTES = 256
"""Memory of class maps and other results for a pixel and its mirror image, in bytes."""
EVEN, ODD = (96, 128), (97, 135)
"""Image sizes that are tried: multiples of 32, and not."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The stages of a convolutional network.

    Attributes:
        levels: numbers of the network's feature levels that are c1 to c4.
        modules: names of the modules that these levels end with.
        channels: channels of c1 to c4.
        strides: input pixels per cell of c1 to c4.
        parameters: names of the parameters that c1 to c4 add to the stages before.
        any_size: whether the grids of all image sizes are rounded up.
        pixel_bytes: memory of inference for a pixel of an image and its mirror image, in bytes.
    """

    levels: tuple[int, ...]
    modules: tuple[str, ...]
    channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    parameters: tuple[frozenset[str], ...]
    any_size: bool
    pixel_bytes: int


def stages_of(network: Any, images: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
    """Return the stages of images: feature levels, the last as the classifier would pool it."""
    if len(levels) < len(STAGES):
        out: list[Tensor] = network.forward_intermediates(
            images, indices=list(levels), intermediates_only=True, stop_early=True
        )
        return out
    last, between = network.forward_intermediates(images, indices=list(levels))
    return [*between[:-1], last]


def bytes_of_pixel(largest: int, kept: int, pixels: int) -> int:
    """Return the memory that inference takes for a pixel and its mirror image, in bytes.

    Args:
        largest: bytes of the inputs and outputs of the module that takes most, for one view.
        kept: bytes of the stages of one view.
        pixels: pixels of the view.
    """
    return int(2 * (2 * largest + kept) / pixels) + RESULT_BYTES


@lru_cache(maxsize=32)
def layout_of(name: str, stride: int | None) -> Layout:
    """Return the stages of a network.

    Args:
        name: timm's name.
        stride: output stride; None for the network's own.

    Raises:
        InputError: the network has no four stages that lie on grids.
        Exception: the network does not take an output stride: one of `UNSUITED`.
    """
    import timm

    options = {"output_stride": stride} if stride else {}
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        network = timm.create_model(name, pretrained=False, num_classes=0, **options).eval()
        info: Any = getattr(network, "feature_info", ())
        if len(info) < len(STAGES) or not hasattr(network, "forward_intermediates"):
            raise _refusal(name)
        levels = tuple(range(len(info) - len(STAGES), len(info)))
        try:
            with _recorded_bytes(network) as recorded:
                stages = stages_of(network, torch.zeros(1, 3, *EVEN), levels)
        except UNSUITED as error:
            raise _refusal(name) from error
        strides = _strides(stages)
        if not strides or list(strides) != sorted(strides):
            raise _refusal(name)
        any_size = _takes_any_size(network, levels, strides)
        parameters = tuple(_parameters(network, stages))
    kept = sum(s.numel() for s in stages) * 4
    pixels = EVEN[0] * EVEN[1]
    channels = [int(s.shape[1]) for s in stages]
    return Layout(
        levels=levels,
        modules=tuple(str(info[level]["module"]) for level in levels),
        channels=(channels[0], channels[1], channels[2], channels[3]),
        strides=strides,
        parameters=parameters,
        any_size=any_size,
        pixel_bytes=bytes_of_pixel(max(recorded), kept, pixels),
    )


def _refusal(name: str) -> InputError:
    return InputError(
        f"timm:{name}, as timm builds it by default, has no four stages on grids that take images "
        "of any size, and is no plain vision transformer; choose a network such as "
        "timm:convnext_tiny, timm:regnety_016, timm:tf_efficientnet_lite2 or "
        "timm:deit_small_patch16_224"
    )


def _strides(stages: list[Tensor]) -> tuple[int, int, int, int] | None:
    """Return the strides of stages of images of size `EVEN`; None where a grid does not fit."""
    out = []
    for stage in stages:
        if stage.ndim != 4 or EVEN[0] % stage.shape[2]:
            return None
        stride = EVEN[0] // stage.shape[2]
        if stage.shape[3] * stride != EVEN[1]:
            return None
        out.append(stride)
    return out[0], out[1], out[2], out[3]


def _takes_any_size(network: nn.Module, levels: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether the grids of an image whose sides are no multiples are rounded up."""
    try:
        stages = stages_of(network, torch.zeros(1, 3, *ODD), levels)
    except UNSUITED:
        return False
    grids = [tuple(stage.shape[2:]) for stage in stages]
    return grids == [tuple(-(-side // stride) for side in ODD) for stride in strides]


def _parameters(network: nn.Module, stages: list[Tensor]) -> Iterator[frozenset[str]]:
    """Yield the names of the parameters that each stage depends on, but no stage before it."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    earlier: set[str] = set()
    for stage in stages:
        gradients = torch.autograd.grad(
            stage.sum(), parameters, retain_graph=True, allow_unused=True
        )
        used = {name for name, g in zip(names, gradients, strict=True) if g is not None}
        yield frozenset(used - earlier)
        earlier |= used


@contextmanager
def _recorded_bytes(network: nn.Module) -> Iterator[list[int]]:
    """Record the bytes of the inputs and outputs of each innermost module within a `with` block."""
    recorded: list[int] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        tensors = [x for x in (*inputs, output) if isinstance(x, Tensor)]
        recorded.append(sum(x.numel() * 4 for x in tensors))

    leaves = [m for m in network.modules() if not list(m.children())]
    handles = [module.register_forward_hook(note) for module in leaves]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
