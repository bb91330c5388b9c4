"""Hierarchical features, which join all four stages of a backbone on one grid.

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
    """1x1 convolutions without bias on the last stages, joined on one grid.

    Source: SIPE (Chen et al., CVPR 2022), four stages, 768 channels.

    Args:
        channels: channels of the stages c1 to c4.
        stages: number of stages, of which the last is c4.
        detached: whether the convolutions pass no gradient to the backbone.
    """

    def __init__(
        self, channels: tuple[int, int, int, int], stages: int = 4, detached: bool = True
    ) -> None:
        super().__init__()
        self.names, self.detached = STAGES[-stages:], detached
        pairs = zip(channels[-stages:], WIDTHS[-stages:], strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(c, w, 1, bias=False) for c, w in pairs)

    @property
    def width(self) -> int:
        """Number of channels of the joined features, 768 with four stages."""
        return sum(WIDTHS[-len(self.names) :])

    def forward(self, stages: Mapping[str, Tensor]) -> Tensor:
        """Return the stages joined to `[B,D,h,w]` on the grid of c4."""
        inputs = [stages[name].detach() if self.detached else stages[name] for name in self.names]
        return join_grids([conv(x) for conv, x in zip(self.convs, inputs, strict=True)])


def join_grids(grids: Sequence[Tensor]) -> Tensor:
    """Scale the features of each grid to unit length and join them on the last grid.

    Args:
        grids: `[B,D,H,W]` each.

    Returns:
        `[B,D,h,w]`, D the sum of channels, h w the last grid.
    """
    size = grids[-1].shape[-2:]
    resized = [
        F.interpolate(unit(g, dim=1), size, mode="bilinear", align_corners=False) for g in grids
    ]
    return torch.cat(resized, 1)


def add_hierarchical_features(network: Classifier) -> None:
    """Add hierarchical features to a network once, for all methods that are trained together."""
    if NAME not in network.extras:
        network.extras[NAME] = HierarchicalFeatures(network.backbone.channels)


def hierarchical_features(network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
    """Return the hierarchical features of a network, or its stages joined where it has none.

    Args:
        network: a classifier.
        stages: its stages c1..c4, `[B,D,H,W]` each.

    Returns:
        `[B,D,h,w]` on the grid of c4.
    """
    if NAME in network.extras:
        out: Tensor = network.extras[NAME](stages)
        return out
    return join_grids([stages[name] for name in STAGES])
