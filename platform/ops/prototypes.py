"""Functions on prototypes, which are averages of features, and on maps of similarity to them.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import unlowered, wide_type


def masked_average(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean feature under each mask, computed in float32 at least.

    Args:
        features: `[B,D,H,W]`.
        masks: `[B,N,H,W]`, non-negative weights; an empty mask gives zeros.

    Returns:
        `[B,N,D]`, in the type of `features`.
    """
    wide = wide_type(features)
    masks = masks.to(wide)
    with unlowered(features):
        sums = torch.einsum("bdhw,bnhw->bnd", features.to(wide), masks)
    weight = masks.sum(dim=(-2, -1)).unsqueeze(-1)
    return (sums / torch.where(weight > 0, weight, 1.0)).to(features.dtype)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Scale vectors to length one along `dim`; a zero vector stays zero."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def cosine_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the rectified cosine of each feature to each prototype, computed in float32 at least.

    Args:
        features: `[B,D,H,W]`.
        prototypes: `[B,N,D]`.

    Returns:
        `[B,N,H,W]`, in the type of `features`; 0 for a zero prototype or a zero feature.
    """
    wide = wide_type(features, prototypes)
    units = unit(features.to(wide), dim=1)
    with unlowered(features):
        cosine = torch.einsum("bdhw,bnd->bnhw", units, unit(prototypes.to(wide)))
    return F.relu(cosine).to(features.dtype)
