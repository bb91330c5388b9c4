"""Class maps as tensors: rectify, normalise, combine scales.

Shapes: B batch, N foreground classes, H W grid; the background plane comes first where present.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def normalize(maps: Tensor, eps: float = 1e-5) -> Tensor:
    """Rectified maps divided by (their spatial maximum + eps); `[..., H, W]` to the same.

    Source: IRN make_cam, LPCAM Eq. 1. An all-negative map becomes all zeros, never NaN.
    """
    maps = maps.clamp(min=0)
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + eps)


def background(maps: Tensor, alpha: float = 1.0) -> Tensor:
    """Background score `alpha (1 - max over classes)`: `[B,N,H,W]` to `[B,1,H,W]`.

    Args:
        maps: normalised class maps, in 0..1.
        alpha: scales the background score.
    """
    return alpha * (1 - maps.amax(dim=1, keepdim=True))


def merge_flip(maps: Tensor, flipped: Tensor) -> Tensor:
    """Maps of an image plus the un-flipped maps of its mirror image, both `[..., H, W]`."""
    return maps + flipped.flip(-1)


def merge_scales(planes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Sum over scales of `[B,N,h,w]` planes, each resized bilinearly to `size`.

    Source: IRN make_cam (align_corners=False, sum; a mean differs only by a factor that
    normalisation removes).
    """
    resized = [F.interpolate(plane, size, mode="bilinear", align_corners=False) for plane in planes]
    return torch.stack(resized).sum(0)


def grid_size(height: int, width: int, stride: int = 4) -> tuple[int, int]:
    """Rows and columns of the stored class maps of a `height` x `width` image."""
    return -(-height // stride), -(-width // stride)


def best_class(
    planes: Tensor, classes: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Score and mask value (uint8) of the best class of each pixel, `[H,W]` both.

    Where the classes begin with 0, the maps bring a background of their own: the score is then
    `(1 + foreground - background) / 2`, above 0.5 just where the best foreground class wins.

    Args:
        planes: `[n,h,w]` in 0..1, resized bilinearly to `size`.
        classes: the mask value of each plane.
        size: `(H, W)`.
    """
    own = int(len(classes) > 0 and classes[0] == 0)
    if len(classes) == own:
        return torch.zeros(size), torch.ones(size, dtype=torch.uint8)
    full = F.interpolate(planes.float()[None], size, mode="bilinear", align_corners=False)[0]
    values = torch.tensor(classes[own:], dtype=torch.uint8)
    if len(values) == 1:
        score, best = full[own], values.expand(size)
    else:
        score, index = full[own:].max(0)
        best = values[index]
    return (1 + score - full[0]) / 2 if own else score, best
