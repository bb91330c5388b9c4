"""Foreground pixel estimation (FPEM), a cascade of attentions over similar and near positions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.ops.pairwise import similar_values
from ...platform.ops.precision import wide_type
from ...platform.ops.prototypes import unit
from .options import PSDPMConfig

STAGES = ("c2", "c3", "c4")
JOIN_WEIGHTS = (3 / 5, 2 / 5, 1 / 5)
"""Weights of the steps in the code for COCO, deepest stage first."""


def join_weights(steps: int) -> list[float]:
    """Return the weights of the first steps, whose sum is that of all three."""
    scale = sum(JOIN_WEIGHTS) / sum(JOIN_WEIGHTS[:steps])
    return [scale * weight for weight in JOIN_WEIGHTS[:steps]]


def position_encoding(height: int, width: int) -> Tensor:
    """Return the encoding of each position, whose cosine is higher the nearer two positions are.

    Returns:
        `[4,H,W]`: x, W+1-x, y, H+1-y, counted from 1, as unit vectors (Fig. 4).
    """
    y = torch.arange(1.0, height + 1)[:, None].expand(height, width)
    x = torch.arange(1.0, width + 1)[None].expand(height, width)
    return unit(torch.stack([x, width + 1 - x, y, height + 1 - y]), dim=0)


def propagate(
    maps: Tensor, correlation: Tensor, similarity: str = "cosine", inside: Tensor | None = None
) -> Tensor:
    """Return, for each position, the mean of its value and the mean value of similar positions.

    This is Eq. 2 with M_j; with M_i, as the paper prints it, it would return the maps unchanged.
    Arguments, precision and type of the result are those of `similar_values`.
    """
    exact = maps.to(wide_type(maps, correlation))
    return ((similar_values(exact, correlation, similarity, inside) + exact) / 2).to(maps.dtype)


def resized(x: Tensor, size: tuple[int, ...], aligned: bool = False) -> Tensor:
    """Return maps, bilinearly resized to a grid; aligned: corners lie on corners."""
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=aligned)


class FPEM(nn.Module):
    """Foreground pixel estimation, a cascade of attentions over maps (section 3.1).

    Args:
        channels: numbers of channels of the stages c2, c3, c4.
        settings: options of PSDPM.
    """

    def __init__(self, channels: tuple[int, ...], settings: PSDPMConfig) -> None:
        super().__init__()
        self.settings, self.aligned = settings, settings.grid == "own"  # corners, as in the code
        other_inputs = {"4d": 4, "2d": 2, "none": 0}[settings.position] + 3 * settings.colour
        self.embed = nn.ModuleDict()
        for name, c in list(zip(STAGES, channels, strict=True))[::-1][: settings.depth]:
            inputs = other_inputs + c * settings.features
            self.embed[name] = nn.Conv2d(inputs, settings.width or c, 1, bias=False)

    def correlation(self, name: str, stages: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the correlation map of one stage on the grid of its step, `[B,D,h,w]` (Eq. 1).

        A 1x1 convolution without bias and bilinear resizing commute, so the convolution is computed
        on the smaller grid.
        """
        s, stage = self.settings, stages[name]
        height, width = stage.shape[2:]
        inputs = []
        if s.position != "none":
            position = position_encoding(height, width)
            if s.position == "2d":
                position = unit(position[[0, 2]], dim=0)
            inputs.append(position.to(stage).expand(len(stage), -1, -1, -1))
        if s.features:
            inputs.append(stage)
        if s.colour:
            inputs.append(resized(images, (height, width), self.aligned).to(stage))
        grid = stages["c4"].shape[2:] if s.grid == "c4" else (height, width)
        out: Tensor = self.embed[name](resized(torch.cat(inputs, 1), grid))
        return out

    def forward(
        self, maps: Tensor, stages: Mapping[str, Tensor], images: Tensor, inside: Tensor
    ) -> Tensor:
        """Return the estimate `[B,N,h,w]` of maps on the grid of c4."""
        size, results = maps.shape[2:], []
        for name in self.embed:
            correlation = self.correlation(name, stages, images)
            grid = correlation.shape[2:]
            known = resized(inside, grid, self.aligned)
            stepped = self.step(resized(maps, grid, self.aligned), correlation, known)
            maps = resized(stepped, size, self.aligned)
            results.append(maps)
        if results and self.settings.join == "weighted":
            weights = join_weights(len(results))
            return torch.stack([w * r for w, r in zip(weights, results, strict=True)]).sum(0)
        return maps

    def step(self, maps: Tensor, correlation: Tensor, inside: Tensor) -> Tensor:
        """Return the result of one step, `[B,N,H,W]`; see `similar_values`."""
        s, values = self.settings, maps
        for _ in range(s.applications):
            values = similar_values(values, correlation, s.similarity, inside)
        return (values + maps) / 2 if s.residual == "mean" else values + maps
