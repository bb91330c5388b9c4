"""Suppression of the most discriminative features of SSC, after DRS (Kim et al., AAAI 2021).

Shapes: B batch, C channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def suppress(features: Tensor, delta: float = 0.55) -> Tensor:
    """Return features cut at a share of their channel's spatial maximum: `[B,C,H,W]` (Eq. 3).

    The gradient of a cut position flows to the maximum of its channel.
    """
    return torch.minimum(features, delta * features.amax((2, 3), keepdim=True))


class Suppression(nn.Module):
    """Says whether a network suppresses features in training now."""

    started = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out suppression in training, while the backbone only compares images."""
        started, self.started = self.started, False
        try:
            yield
        finally:
            self.started = started


class Suppress:
    """Forward hook that cuts a module's output by `suppress`, in training once it has begun."""

    def __init__(self, delta: float, training_only: bool, state: Suppression) -> None:
        self.delta, self.training_only, self.state = delta, training_only, state

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
        cut = self.state.started if module.training else not self.training_only
        return suppress(output, self.delta) if cut else None
