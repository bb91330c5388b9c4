"""Prototypes: averages of features, and maps of similarity to them.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_average(features: Tensor, masks: Tensor) -> Tensor:
    """Mean feature under each mask: `[B,D,H,W]`, `[B,N,H,W]` to `[B,N,D]`.

    Masks may be soft (non-negative weights); an empty mask gives zeros.
    """
    wide = torch.promote_types(features.dtype, torch.float32)  # a half counts to 65504 only
    masks = masks.to(wide)
    sums = torch.einsum("bdhw,bnhw->bnd", features.to(wide), masks)
    weight = masks.sum(dim=(-2, -1)).unsqueeze(-1)
    return (sums / torch.where(weight > 0, weight, 1.0)).to(features.dtype)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors of length one along `dim`; a zero vector stays zero."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def cosine_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Rectified cosine to each prototype: `[B,D,H,W]`, `[B,N,D]` to `[B,N,H,W]`.

    A zero prototype, or a zero feature, gives 0.
    """
    cosine = torch.einsum("bdhw,bnd->bnhw", unit(features, dim=1), unit(prototypes))
    return F.relu(cosine)
