"""Hierarchical features: all four stages of a backbone on one grid.

Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.prototypes import unit
from .backbones import STAGES
from .classifier import Classifier

WIDTHS = (128, 128, 256, 256)
NAME = "hierarchical"


class HierarchicalFeatures(nn.Module):
    """1x1 convolutions without bias on the four stages, whose gradient they keep to themselves.

    Source: SIPE (Chen et al., CVPR 2022), 768 channels.

    Args:
        channels: of the stages c1 to c4.
    """

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(c, w, 1, bias=False) for c, w in zip(channels, WIDTHS, strict=True)
        )

    @property
    def width(self) -> int:
        """768."""
        return sum(WIDTHS)

    def forward(self, stages: Mapping[str, Tensor]) -> Tensor:
        """The stages c1..c4 as `[B,768,h,w]` on the grid of c4."""
        return joined(
            [conv(stages[name].detach()) for conv, name in zip(self.convs, STAGES, strict=True)]
        )


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Features of several grids, each at unit length, side by side on the grid of the last."""
    size = parts[-1].shape[-2:]
    resized = [
        F.interpolate(unit(p, dim=1), size, mode="bilinear", align_corners=False) for p in parts
    ]
    return torch.cat(resized, 1)


def add_hierarchical_features(network: Classifier) -> None:
    """Give the network hierarchical features, once, for all methods that are trained together."""
    if NAME not in network.extras:
        network.extras[NAME] = HierarchicalFeatures(network.backbone.channels)


def hierarchy(network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
    """Return `[B,D,h,w]`: the hierarchical features, or where the network has none its stages."""
    if NAME in network.extras:
        out: Tensor = network.extras[NAME](stages)
        return out
    return joined([stages[name] for name in STAGES])
