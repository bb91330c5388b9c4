"""Functions on class maps: rectifying, normalising, and merging scales and mirror images.

Shapes: B batch, N foreground classes, H W grid; the background plane comes first where present.
Planes of a huge image are resized one at a time, see `LARGE`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LARGE = 1 << 28
"""Number of resized values, 1 GiB in float32, above which planes are resized one at a time.

The results are equal except for rounding, because torch resizes a single plane by another kernel.
"""
MIN_PROBABILITY = 1e-8
"""Smallest probability that a logarithm is taken of; lower ones are raised to it."""


def normalize(maps: Tensor, eps: float = 1e-5) -> Tensor:
    """Rectify maps `[..., H, W]` and divide them by (their spatial maximum + eps).

    Source: IRN make_cam, LPCAM Eq. 1. An all-negative map becomes all zeros, never NaN.
    """
    maps = maps.clamp(min=0)
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + eps)


def normalize_range(maps: Tensor, eps: float = 1e-8) -> Tensor:
    """Return `(maps - minimum) / (maximum - minimum + eps)` of maps `[..., H, W]`.

    Source: MCTformer's code. A constant map becomes all zeros.
    """
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + eps)


def background(maps: Tensor, alpha: float = 1.0) -> Tensor:
    """Return the background score `alpha (1 - max over classes)`.

    Args:
        maps: `[B,N,H,W]`, normalised class maps, in 0..1.
        alpha: factor of the background score.

    Returns:
        `[B,1,H,W]`; `alpha` everywhere without classes.
    """
    if not maps.shape[1]:
        return maps.new_full((len(maps), 1, *maps.shape[2:]), alpha)
    return alpha * (1 - maps.amax(dim=1, keepdim=True))


def background_at(maps: Tensor, level: float) -> Tensor:
    """Return the background score `(1 - max over classes) ** alpha`, as the PSA line defines it.

    Alpha is `ln(level) / ln(1 - level)`, so that a class with the score `level` has the score of
    the background: both rules cut the maps at the same threshold. At a level of 0.5 alpha is 1.

    Args:
        maps: `[..., N, H, W]`, class maps without a background plane; values above 1 count as 1.
        level: threshold, kept at least 1e-5 away from 0 and from 1.

    Returns:
        `[..., H, W]`.
    """
    level = min(max(level, 1e-5), 1 - 1e-5)
    alpha = math.log(level) / math.log1p(-level)
    return (1 - maps.amax(-3)).clamp_(min=0).pow_(alpha)


def enlarge_probabilities(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return probabilities `[B,N,h,w]` at `size` as a softmax of enlarged logits gives them.

    Their logarithms are resized bilinearly, which differ from logits only by a number that all
    planes of a position share. So the results are those of the softmax up to a factor for each
    pixel, and each plane can be resized alone.
    """
    logarithms = planes.clamp(min=MIN_PROBABILITY).log_()
    return F.interpolate(logarithms, size, mode="bilinear", align_corners=False).exp_()


def merge_flip(maps: Tensor, flipped: Tensor) -> Tensor:
    """Add the maps of a mirror image, flipped back, to the maps of the image, `[..., H, W]`."""
    return maps + flipped.flip(-1)


def merge_scales(planes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize the planes `[B,N,h,w]` of each scale bilinearly to `size` and sum them.

    Source: IRN make_cam (align_corners=False, sum; a mean differs only by a factor that
    normalisation removes).
    """
    resized = [F.interpolate(plane, size, mode="bilinear", align_corners=False) for plane in planes]
    return torch.stack(resized).sum(0)


def merge_scales_and_cut(planes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Enlarge the planes `[B,N,h,w]` of each scale to multiples of 16, sum and cut them to `size`.

    Source: IRN make_cam, whose class maps at the image's size are made so.
    """
    rows, columns = grid_size(*size, stride=16)
    return merge_scales(planes, (16 * rows, 16 * columns))[..., : size[0], : size[1]]


def enlarge_and_cut(planes: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Enlarge planes `[B,N,h,w]` bilinearly by a factor and cut them to `size` (IRN's code)."""
    large = (factor * planes.shape[2], factor * planes.shape[3])
    full = F.interpolate(planes, large, mode="bilinear", align_corners=False)
    return full[..., : size[0], : size[1]]


def grid_size(height: int, width: int, stride: int = 4) -> tuple[int, int]:
    """Return the rows and columns of the stored class maps of a `height` x `width` image."""
    return -(-height // stride), -(-width // stride)


def best_plane(
    planes: Tensor, size: tuple[int, int], allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the largest value of each pixel and the number of its plane, the first of equal ones.

    Args:
        planes: float32 `[B,N,h,w]`, resized bilinearly to `size`; N is 1 to 256.
        size: `(H, W)`.
        allowed: bool `[B,N]`: planes that take part, always the first; None for all planes.

    Returns:
        Float32 `[B,H,W]`, the values; uint8 `[B,H,W]`, the numbers.
    """
    large = planes[:, :, 0, 0].numel() * math.prod(size) > LARGE
    groups = torch.split(planes, 1, 1) if large else [planes]
    best: tuple[Tensor, Tensor] | None = None
    for first, group in enumerate(groups):
        full = F.interpolate(group, size, mode="bilinear", align_corners=False)
        if allowed is not None:
            full[~allowed[:, first : first + group.shape[1]]] = -torch.inf
        values, index = full.max(1)
        numbers = index.to(torch.uint8) + first
        if best is not None:
            numbers = torch.where(values > best[0], numbers, best[1])
            values = torch.maximum(values, best[0])
        best = values, numbers
    assert best is not None
    return best


def best_class(
    planes: Tensor, classes: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the score and the mask value of the best foreground class of each pixel.

    Where the classes begin with 0, the first plane is a background plane: the score is then
    `(1 + foreground - background) / 2`, above 0.5 just where the best foreground class wins.

    Args:
        planes: `[n,h,w]` in 0..1, resized bilinearly to `size`.
        classes: mask value of each plane.
        size: `(H, W)`.

    Returns:
        Float `[H,W]`, the score; uint8 `[H,W]`, the mask value.
    """
    first = int(len(classes) > 0 and classes[0] == 0)
    if len(classes) == first:
        return planes.new_zeros(size, dtype=torch.float32), planes.new_ones(size, dtype=torch.uint8)
    values = torch.tensor(classes[first:], dtype=torch.uint8, device=planes.device)
    if len(planes) * math.prod(size) > LARGE:
        (score,), (index,) = best_plane(planes[first:].float()[None], size)
        (ground,), _ = best_plane(planes[:1].float()[None], size)
        return (1 + score - ground) / 2 if first else score, values[index.long()]
    full = F.interpolate(planes.float()[None], size, mode="bilinear", align_corners=False)[0]
    if len(values) == 1:
        score, best = full[first], values.expand(size)
    else:
        score, index = full[first:].max(0)
        best = values[index]
    return (1 + score - full[0]) / 2 if first else score, best
