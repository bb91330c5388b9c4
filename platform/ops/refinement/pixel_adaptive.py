"""Pixel-adaptive refinement: planes are averaged over neighbours of like colour, again and again.

Sources: PAR of AFA (Ru et al., CVPR 2022) and ToCo (Ru et al., CVPR 2023), and PAMR of
Araslanov and Roth (CVPR 2020).
Each pixel has eight neighbours at each of six distances. Neighbours are read as shifted views of
the image and of the planes, so that no tensor holds all neighbours of all channels.
Shapes: B batch, K planes, P neighbours, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Affinity = Literal["par", "pamr"]
"""The formula of the weights.

par: squared colour distances, each divided by 0.3 standard deviations, plus a term for the distance
of the pixels. pamr: colour distances divided by 0.1 standard deviations, without such a term.
"""
DILATIONS = (1, 2, 4, 8, 12, 24)
"""Distances of the neighbours along rows and columns, in pixels."""
STEPS = 10
PAR_DEVIATIONS, PAMR_DEVIATIONS = 0.3, 0.1
"""Standard deviations by which distances are divided; with par also the distances of pixels."""
POSITION_WEIGHT = 0.01
"""Weight of the term for the position beside the term for the colours."""
EPSILON = 1e-8


@dataclass(frozen=True)
class BackgroundPair:
    """Two background scores of a published label rule, see `certain_labels`."""

    high: float
    low: float


PairName = Literal["toco", "afa"]
PAIRS: dict[PairName, BackgroundPair] = {
    "toco": BackgroundPair(0.7, 0.25),
    "afa": BackgroundPair(0.55, 0.35),
}
"""Published pairs of background scores by the name of their method."""


def _offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """Return the rows and columns from a pixel to each of its P neighbours."""
    directions = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(d * y, d * x) for d in dilations for y, x in directions]


def _neighbours(planes: Tensor, dilations: Sequence[int]) -> Callable[[], Iterator[Tensor]]:
    """Return a function that yields the planes `[B,K,H,W]` of each neighbour, as views of one copy.

    Beyond the edge of the image lies the nearest pixel of the edge.
    """
    height, width = planes.shape[2:]
    reach = max(dilations)
    padded = F.pad(planes, (reach,) * 4, mode="replicate")

    def views() -> Iterator[Tensor]:
        for y, x in _offsets(dilations):
            yield padded[..., reach + y : reach + y + height, reach + x : reach + x + width]

    return views


def affinities(
    images: Tensor, affinity: Affinity = "par", dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Return the weight of each neighbour of each pixel, float32 `[B,P,H,W]`.

    The weights of a pixel sum to 1 with pamr and to 1.01 with par. They stay the same if a channel
    is multiplied by a factor or gets an offset.

    Args:
        images: `[B,3,H,W]`, of any scale.
        affinity: the formula of the weights.
        dilations: distances of the neighbours, in pixels.
    """
    images = images.float()
    neighbours = _neighbours(images, dilations)
    deviation = _deviation(images, neighbours, affinity, len(dilations))
    count = 8 * len(dilations)
    weights = images.new_empty(len(images), count, *images.shape[2:])
    if affinity == "par":
        scale = deviation.add_(EPSILON).mul_(PAR_DEVIATIONS)
    else:
        scale = deviation.mul_(PAMR_DEVIATIONS).add_(EPSILON)
    for number, shifted in enumerate(neighbours()):
        distance = (shifted - images).abs_().div_(scale)
        if affinity == "par":
            distance.square_()
        weights[:, number] = distance.mean(1).neg_()
    weights.sub_(weights.amax(1, keepdim=True)).exp_()
    weights.div_(weights.sum(1, keepdim=True))
    if affinity == "par":
        weights.add_(POSITION_WEIGHT * _position_weights(dilations, images)[:, None, None])
    return weights


def _deviation(
    images: Tensor, neighbours: Callable[[], Iterator[Tensor]], affinity: Affinity, distances: int
) -> Tensor:
    """Return the unbiased standard deviation of each channel around each pixel, `[B,3,H,W]`.

    It runs over the neighbours, with pamr also over the pixel itself, once for each distance.
    """
    repeats = distances if affinity == "pamr" else 0
    count = 8 * distances + repeats
    mean = images * repeats
    for shifted in neighbours():
        mean += shifted
    mean /= count
    squares = (images - mean).square_().mul_(repeats)
    for shifted in neighbours():
        squares += (shifted - mean).square_()
    return squares.div_(count - 1).sqrt_()


def _position_weights(dilations: Sequence[int], like: Tensor) -> Tensor:
    """Return the part of the weights that depends on the distance alone, `[P]`, of sum 1."""
    lengths = torch.tensor(_offsets(dilations), dtype=like.dtype, device=like.device).norm(dim=1)
    scale = (lengths.std() + EPSILON) * PAR_DEVIATIONS
    weights: Tensor = (lengths / scale).square_().neg_().softmax(0)
    return weights


def spread(weights: Tensor, planes: Tensor, dilations: Sequence[int], steps: int = STEPS) -> Tensor:
    """Replace each value by the weighted sum of its neighbours' values, `steps` times.

    Args:
        weights: `[B,P,H,W]` from `affinities`.
        planes: float32 `[B,K,H,W]`.
        dilations: as for `affinities`.
        steps: number of repetitions.

    Returns:
        `[B,K,H,W]`.
    """
    for _ in range(steps):
        neighbours = _neighbours(planes, dilations)
        planes = torch.zeros_like(planes)
        for number, shifted in enumerate(neighbours()):
            planes.addcmul_(weights[:, number : number + 1], shifted)
    return planes


def refined_planes(
    images: Tensor,
    planes: Tensor,
    affinity: Affinity = "par",
    steps: int = STEPS,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Return planes that follow the colours of their images, float32 `[B,K,H,W]`.

    With par, whose weights sum to 1.01, a constant grows to 1.01 to the power of the steps, see
    `growth`.

    Args:
        images: `[B,3,H,W]`, of any scale.
        planes: `[B,K,H,W]`.
        affinity, steps, dilations: see `affinities` and `spread`.
    """
    return spread(affinities(images, affinity, dilations), planes.float(), dilations, steps)


def growth(affinity: Affinity, steps: int) -> float:
    """Return the factor by which `spread` enlarges a constant plane."""
    return (1 + POSITION_WEIGHT) ** steps if affinity == "par" else 1.0


def background_planes(planes: Tensor, pair: BackgroundPair) -> Tensor:
    """Return the softmax of class maps and a constant background, for both background scores.

    Source: the label rule of ToCo and AFA; the softmax has no temperature.

    Args:
        planes: class maps of the present classes, `[B,K,h,w]`.
        pair: the background scores.

    Returns:
        `[B,2(K+1),h,w]`: background and classes for the high score, then for the low score.
    """
    first = planes[:, :1]
    both = [
        torch.cat([torch.full_like(first, score), planes], 1).softmax(1)
        for score in (pair.high, pair.low)
    ]
    return torch.cat(both, 1)


def refinement_bytes(
    height: int, width: int, planes: int, dilations: Sequence[int] = DILATIONS
) -> int:
    """Return an upper bound of the memory in bytes that the refinement of one image takes.

    The bound counts float32 tensors: the weights, the image and the planes with their borders, and
    intermediate results. It grows with (P + K) H W.
    """
    reach, pixels = max(dilations), height * width
    padded = (height + 2 * reach) * (width + 2 * reach)
    neighbours = 8 * len(dilations)
    return 4 * (pixels * (neighbours + 20 + 4 * planes) + padded * (3 + planes))
