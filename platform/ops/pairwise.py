"""Sums and means over all positions of an image, weighted by the similarity of two positions.

Not all pairs of positions are held in memory at a time.
Shapes: B batch, N planes, D channels, H W grid, P positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .precision import unlowered, wide_type
from .prototypes import unit

MOST_PAIRS = 1 << 24
"""Largest number of pairs of positions held at a time, over the batch: 64 MiB in float32."""
PairFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


def similarity_sums(features: Tensor, values: Tensor) -> Tensor:
    """Sum values over all positions, weighted by the rectified product of features.

    Where gradients are recorded and not all pairs fit `MOST_PAIRS`, the backward pass computes the
    products again instead of keeping them. Computes in float32 at least.

    Args:
        features: `[B,D,P]`; at unit length, products are cosines.
        values: `[B,N,P]`.

    Returns:
        `[B,N,P]`, one sum for each plane and position, in the type of `values`.
    """
    return _in_parts(_rectified, features, values)


def similarity_means(features: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """Average values over all positions, weighted by the softmax of the products of features.

    Memory and precision are those of `similarity_sums`.

    Args:
        features: `[B,D,P]`.
        values: `[B,N,P]`.
        known: `[B,1,P]`, zero at positions that do not count; where all positions of an image are
            zero, all count the same.

    Returns:
        `[B,N,P]`, one mean for each plane and position, in the type of `values`.
    """
    return _in_parts(_softmax, features, torch.cat([values, known.to(values)], 1))


def similar_values(
    maps: Tensor, correlation: Tensor, similarity: str, inside: Tensor | None = None
) -> Tensor:
    """Return, for each position, the weighted sum of the values of similar positions.

    Computes in float32 at least.

    Args:
        maps: `[B,N,H,W]`.
        correlation: features by which positions are compared, `[B,D,H,W]`.
        similarity: `cosine`, rectified cosine, divided by its sum over all positions; `softmax` of
            the products; or `area`, rectified cosine, divided by the number of positions.
        inside: `[B,1,H,W]`, zero where there is padding, which is similar to no position; None: no
            padding.

    Returns:
        `[B,N,H,W]`, in the type of `maps`; zero at a position that is similar to none.
    """
    wide = wide_type(maps, correlation)
    flat, values = correlation.to(wide).flatten(2), maps.to(wide).flatten(2)
    known = torch.ones_like(flat[:, :1]) if inside is None else (inside.flatten(2) > 0).to(flat)
    if similarity == "softmax":
        spread = similarity_means(flat, values, known)
    else:
        sums = similarity_sums(unit(flat, dim=1) * known, torch.cat([values, known], 1))
        total, area = sums[:, -1:], known.sum(2, keepdim=True).clamp(min=1)
        scale = torch.where(total > 0, total, 1.0) if similarity == "cosine" else area
        spread = sums[:, :-1] / scale
    return spread.reshape(maps.shape).to(maps.dtype)


def _rectified(features: Tensor, some: Tensor, values: Tensor) -> Tensor:
    return values @ F.relu(features.mT @ some)


def _softmax(features: Tensor, some: Tensor, values: Tensor) -> Tensor:
    least = torch.finfo(features.dtype).min
    products = (features.mT @ some).masked_fill(values[:, -1:].mT == 0, least)
    return values[:, :-1] @ products.softmax(1)


def _in_parts(part: PairFunction, features: Tensor, values: Tensor) -> Tensor:
    """Apply a function of pairs of positions to parts of at most `MOST_PAIRS` pairs."""
    kind, wide = values.dtype, wide_type(features, values)
    features, values = features.to(wide), values.to(wide)
    batch, _, positions = features.shape
    width = max(1, MOST_PAIRS // max(1, batch * positions))
    with unlowered(features):
        if positions <= width:
            return part(features, features, values).to(kind)
        results = []
        for some in torch.split(features, width, 2):
            if torch.is_grad_enabled():
                results.append(
                    checkpoint(
                        part,
                        features,
                        some,
                        values,
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                )
            else:
                results.append(part(features, some, values))
        return torch.cat(results, 2).to(kind)
