"""Functions on prototypes, which are averages of features, and on maps of similarity to them.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_average(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean feature under each mask.

    Args:
        features: `[B,D,H,W]`.
        masks: `[B,N,H,W]`, non-negative weights; an empty mask gives zeros.

    Returns:
        `[B,N,D]`.
    """
    wide = torch.promote_types(features.dtype, torch.float32)  # float16 ends at 65504
    masks = masks.to(wide)
    sums = torch.einsum("bdhw,bnhw->bnd", features.to(wide), masks)
    weight = masks.sum(dim=(-2, -1)).unsqueeze(-1)
    return (sums / torch.where(weight > 0, weight, 1.0)).to(features.dtype)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Scale vectors to length one along `dim`; a zero vector stays zero."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def cosine_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the rectified cosine of each feature to each prototype.

    Args:
        features: `[B,D,H,W]`.
        prototypes: `[B,N,D]`.

    Returns:
        `[B,N,H,W]`; 0 for a zero prototype or a zero feature.
    """
    cosine = torch.einsum("bdhw,bnd->bnhw", unit(features, dim=1), unit(prototypes))
    return F.relu(cosine)
