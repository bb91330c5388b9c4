"""Resampling of grids by a matrix for each axis, with a scale that need not fit the sizes.

`torch.nn.functional.interpolate` copies a grid that keeps its size, whatever the scale.
Shapes: B batch, D channels, h w the old grid, H W the new grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

CUBIC = -0.75
"""The parameter a of the cubic kernel (Keys 1981), as in PyTorch without antialiasing."""


def linear_weights(count: int, size: int, scale: float, like: Tensor) -> Tensor:
    """Return the weights `[size,count]` of linear interpolation along one axis.

    Args:
        count: old cells.
        size: new cells.
        scale: new cells for each old cell; positions outside take the outermost cell.
        like: gives device and type.
    """
    middles = (torch.arange(size, dtype=torch.float64) + 0.5) / scale - 0.5
    middles = middles.clamp(0, count - 1)
    cells = torch.arange(count, dtype=torch.float64)
    return (1 - (middles[:, None] - cells).abs()).clamp(min=0).to(like)


def cubic_weights(count: int, size: int, scale: float, like: Tensor) -> Tensor:
    """Return the weights `[size,count]` of cubic interpolation, see `linear_weights`."""
    middles = (torch.arange(size, dtype=torch.float64) + 0.5) / scale - 0.5
    first = middles.floor().long()
    weights = torch.zeros(size, count, dtype=torch.float64)
    for offset in range(-1, 3):
        cells = first + offset
        x = (cells - middles).abs()
        near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
        far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
        part = torch.where(x < 1, near, far)[:, None]
        weights.scatter_add_(1, cells.clamp(0, count - 1)[:, None], part)
    return weights.to(like)


def resampled(grids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return grids `[B,D,H,W]` from grids `[B,D,h,w]` and weights `[H,h]` and `[W,w]`."""
    with torch.autocast(grids.device.type, enabled=False):
        return rows @ grids @ columns.T
