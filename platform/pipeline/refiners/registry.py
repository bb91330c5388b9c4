"""All refiners, by their names in `refine.kind`."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Refiner
from .crf import DenseCRF
from .irn import IRN
from .pixel_adaptive import PixelAdaptiveRefiner
from .segments import SegmentRefiner
from .unrefined import TrueMasks, Unrefined

REFINERS: Mapping[str, type[Refiner]] = {
    refiner.name: refiner
    for refiner in (Unrefined, DenseCRF, IRN, PixelAdaptiveRefiner, SegmentRefiner, TrueMasks)
}
