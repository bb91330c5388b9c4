"""Position embeddings of a vision transformer for other grids than the embedding's own.

Shapes: P prefix tokens, N positions of the embedding's own grid, D channels, h w grid.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .resampling import cubic_weights, resampled

PositionKind = Literal["timm", "mct", "clip_es"]


def resampled_positions(
    embedding: Tensor,
    own: tuple[int, int],
    grid: tuple[int, int],
    prefix: int,
    kind: PositionKind,
    image: tuple[int, int],
) -> Tensor:
    """Return a position embedding for a grid, `[1,P+h*w,D]`; those of prefix tokens stay.

    Args:
        embedding: `[1,P+N,D]`.
        own: height and width of the embedding's own grid.
        grid: h and w.
        prefix: P.
        kind: timm: bicubic (a = -0.5) with antialiasing; mct: bicubic (a = -0.75) without, at
            scale (h + 0.1) / N; clip_es: bilinear, rounded to float16. The embedding stays as it is
            on its own grid; for mct only where the image is square, too.
        image: height and width of the image, pixels.
    """
    same = own == grid and (kind != "mct" or image[0] == image[1])
    if same:
        return embedding
    tokens, table = embedding[:, :prefix], embedding[:, prefix:].float()
    table = table.reshape(1, *own, -1).permute(0, 3, 1, 2)
    if kind == "timm":
        table = F.interpolate(table, grid, mode="bicubic", antialias=True)
    elif kind == "mct":
        sides = zip(own, grid, strict=True)
        weights = [cubic_weights(n, m, (m + 0.1) / n, table) for n, m in sides]
        table = resampled(table, weights[0], weights[1])
    else:
        table = F.interpolate(table, grid, mode="bilinear").half().float()
    return torch.cat([tokens, table.flatten(2).transpose(1, 2).to(embedding.dtype)], 1)
