"""Sums over all positions of an image, weighted by how alike two positions are, without holding
all pairs of positions at a time.

Shapes: B batch, N planes, D channels, P positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

PAIRS = 1 << 24
"""Pairs of positions held at a time, over the batch: 64 MiB in float32."""


def alike_sums(features: Tensor, values: Tensor) -> Tensor:
    """Each position's sum of values, weighted by the rectified product with it.

    Args:
        features: `[B,D,P]`; at unit length, so that products are cosines.
        values: `[B,N,P]`.

    Returns:
        `[B,N,P]`. Where gradients are wanted and not all pairs fit `PAIRS`, the way back computes
        the products again instead of keeping them.
    """
    batch, _, positions = features.shape
    width = max(1, PAIRS // max(1, batch * positions))
    if positions <= width:
        return _sums(features, features, values)
    parts = []
    for some in torch.split(features, width, 2):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_sums, features, some, values, use_reentrant=False))
        else:
            parts.append(_sums(features, some, values))
    return torch.cat(parts, 2)


def _sums(features: Tensor, some: Tensor, values: Tensor) -> Tensor:
    return values @ F.relu(features.mT @ some)
