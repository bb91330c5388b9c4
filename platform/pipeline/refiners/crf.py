"""Refinement of seed masks by DenseCRF."""

from __future__ import annotations

from typing import ClassVar

from .base import Refined, Refiner
from .seeds import SeedMaps, labels


class DenseCRF(Refiner):
    """DenseCRF on class maps that are cut at a threshold."""

    name: ClassVar[str] = "crf"

    def refine(self, seeds: SeedMaps) -> Refined:
        context, options, id = self.context, self.options, self.id_of(seeds.id)
        stages = {
            split: self.planning.add(labels(context, seeds, split, options.crf, options.threshold))
            for split in self.planning.label_splits
        }
        scores = self.planning.scored(id, stages)
        return Refined(id=id, scores=scores, labels=stages, unchosen=True)
