"""What a boundary network learns from: pairs of positions of the same or of another class (IRN).

Shapes: B batch, H W grid at stride 4, O offsets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..metrics import VOID
from .random_walk import affinities, offsets

EPS = 1e-5


def pairs(labels: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs of positions are both background, both one class, of different classes.

    Args:
        labels: long `[B,H,W]`, 255 where unknown; pairs with an unknown end are in none.
        radius: see `ops.random_walk.offsets`.

    Returns:
        Three bool `[B,O,H,W]`, of each position and its neighbour at that offset.
    """
    height, width = labels.shape[1:]
    reach = radius - 1
    labels = labels.to(torch.uint8)  # an eighth of the memory that every comparison reads
    padded = torch.nn.functional.pad(labels, (reach, reach, 0, reach), value=VOID)
    there = torch.stack(
        [
            padded[:, dy : dy + height, reach + dx : reach + dx + width]
            for dy, dx in offsets(radius)
        ],
        1,
    )
    here = labels[:, None]
    known = (here != VOID) & (there != VOID)
    same = known & (here == there)
    return same & (here == 0), same & (here > 0), known & (here != there)


def affinity_losses(boundary: Tensor, labels: Tensor, radius: int = 10) -> dict[str, Tensor]:
    """The two terms of IRN's class boundary loss; their sum is minimised.

    Each is a mean over its pairs, zero without any: `same` half the mean of both kinds of equal
    pairs, background and foreground, `different` half of the rest.

    Args:
        boundary: `[B,H,W]`, 0..1.
        labels: long `[B,H,W]`, 255 where unknown.
        radius: of the pairs; 10 as published.
    """
    affinity = affinities(boundary, radius)
    background, foreground, other = pairs(labels, radius)
    values = -torch.log(EPS + torch.where(other, 1 - affinity, affinity))

    def mean(chosen: Tensor) -> Tensor:
        return (values * chosen).sum() / chosen.sum().clamp(min=1)

    same = mean(background) + mean(foreground)
    return {"same": same / 4, "different": mean(other) / 2}
