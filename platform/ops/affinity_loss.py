"""IRN's class boundary loss, over pairs of positions of the same class and of different classes.

Shapes: B batch, H W grid at stride 4, O offsets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..labels import VOID
from .collectives import share_of_total
from .random_walk import affinities, neighbour_offsets

EPS = 1e-5


def sort_pairs(labels: Tensor, radius: int) -> tuple[Tensor, ...]:
    """Sort all pairs of positions by the labels at both ends.

    Args:
        labels: long `[B,H,W]`, 255 where unknown.
        radius: see `ops.random_walk.neighbour_offsets`.

    Returns:
        Three bool masks `[B,O,H,W]` over each position and its neighbour at each offset: both are
        background; both are the same foreground class; both differ. A pair with an unknown end is
        in no mask.
    """
    height, width = labels.shape[1:]
    reach = radius - 1
    labels = labels.to(torch.uint8)  # an eighth of the memory that every comparison reads
    padded = torch.nn.functional.pad(labels, (reach, reach, 0, reach), value=VOID)
    neighbours = torch.stack(
        [
            padded[:, dy : dy + height, reach + dx : reach + dx + width]
            for dy, dx in neighbour_offsets(radius)
        ],
        1,
    )
    centre = labels[:, None]
    known = (centre != VOID) & (neighbours != VOID)
    same = known & (centre == neighbours)
    return same & (centre == 0), same & (centre > 0), known & (centre != neighbours)


def interior(radius: int, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of the positions that have all their neighbours on a grid.

    The neighbours lie below, left and right, see `ops.random_walk.neighbour_offsets`.
    """
    reach = radius - 1
    return slice(0, max(0, height - reach)), slice(reach, max(reach, width - reach))


def affinity_losses(
    boundary: Tensor, labels: Tensor, radius: int = 10, pairs: str = "all"
) -> dict[str, Tensor]:
    """Return the two terms of IRN's class boundary loss, whose sum is minimised.

    Args:
        boundary: `[B,H,W]`, 0..1.
        labels: long `[B,H,W]`, 255 where unknown.
        radius: distance below which two positions form a pair, in positions; 10 as published.
        pairs: `all`, or `interior` for those of the positions of `interior` (IRN's code).

    Returns:
        `same`: a quarter of the sum of two means, one over background pairs and one over pairs of
        one foreground class; `different`: half the mean over pairs of different classes. A mean
        over no pairs is zero. Means are over the pairs of all training workers.
    """
    affinity, kinds = affinities(boundary, radius), sort_pairs(labels, radius)
    if pairs == "interior":
        rows, columns = interior(radius, *labels.shape[1:])
        affinity = affinity[:, :, rows, columns]
        kinds = tuple(kind[:, :, rows, columns] for kind in kinds)
    background, foreground, different = kinds
    values = -torch.log(EPS + torch.where(different, 1 - affinity, affinity))

    def mean(chosen: Tensor) -> Tensor:
        return (values * chosen).sum() / share_of_total(chosen.sum())

    same = mean(background) + mean(foreground)
    return {"same": same / 4, "different": mean(different) / 2}
