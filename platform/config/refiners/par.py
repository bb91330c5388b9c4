"""Options of pixel-adaptive refinement."""

from __future__ import annotations

from typing import Literal

from ...ops.refinement.pixel_adaptive import Affinity, PairName
from ..fields import Options, dataclass, option
from ..rules import Threshold


@dataclass(frozen=True, kw_only=True)
class PixelAdaptive(Options):
    """Options of pixel-adaptive refinement (source: the code of AFA and ToCo)."""

    affinity: Affinity = option(
        "par",
        "Formula of the weights: par (AFA, ToCo), or pamr (Araslanov and Roth, CVPR 2020).",
        added=True,
    )
    steps: int = option(
        10, "Number of averages over the neighbours of a pixel.", low=0, high=1_000, added=True
    )
    scale: float = option(
        0.5, "Factor on the size of the image that is refined.", low=0.05, high=1, added=True
    )
    pair: Literal["", PairName] = option(
        "",
        "Published pair of background scores, whose labels are unknown where the two differ: toco "
        "(0.7 and 0.25) or afa (0.55 and 0.35); empty: refined class maps, cut at a threshold.",
        added=True,
    )
    threshold: Threshold | None = option(
        None,
        "Threshold of the refined class maps; none: the best on the first scored split.",
        low=0,
        high=0.99,
        added=True,
    )
