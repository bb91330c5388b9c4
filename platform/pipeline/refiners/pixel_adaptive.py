"""Pixel-adaptive refinement of class maps, or of the labels of a published background pair."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from ...ops.refinement.pixel_adaptive import PAIRS
from ...ray_runtime import cluster
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..context import Context, Runtime, Step
from .base import Refined, Refiner
from .seeds import SeedMaps


class PixelAdaptiveRefiner(Refiner):
    """Class maps that are averaged over neighbours of like colour.

    The refined class maps are cut at a threshold; a published pair of background scores gives
    labels instead.
    """

    name: ClassVar[str] = "par"

    def refine(self, seeds: SeedMaps) -> Refined:
        context, planning, id = self.context, self.planning, self.id_of(seeds.id)
        paired = bool(self.options.par.pair)
        splits = planning.label_splits if paired else planning.splits
        stages = {s: planning.add(averaged(context, seeds, s)) for s in splits}
        scores = planning.scored(id, stages)
        if paired:
            return Refined(id=id, scores=scores, labels=stages, unchosen=True)
        return Refined(id=id, scores=scores, maps=stages, unchosen=seeds.own)


def averaged(context: Context, seeds: SeedMaps, split: str) -> Step:
    """Return the step that refines the class maps of a split by pixel-adaptive refinement."""
    options = context.experiment.refine.par
    pair = PAIRS[options.pair] if options.pair else None
    stage = Stage(
        name="labels" if pair else "maps",
        version=1,
        config={
            "method": "par",
            "split": split,
            "affinity": options.affinity,
            "steps": options.steps,
            "scale": options.scale,
            **({"pair": dataclasses.asdict(pair)} if pair else {}),
            **context.image_limit,
        },
        inputs={"shards": context.shards.key, "maps": seeds.maps[split].key},
        title=f"{seeds.id} pixel-adaptive {'labels' if pair else 'maps'}, {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.inference import actors, pixel_adaptive

        cluster.connect()
        job = pixel_adaptive.Job(
            maps=run.artifact(seeds.maps[split]).folder,
            folder=folder,
            affinity=options.affinity,
            steps=options.steps,
            scale=options.scale,
            pair=pair,
            views=context.views(),
        )
        actor = pixel_adaptive.PixelAdaptation
        return actors.compute(actor, job, context.pieces(split), run.count)

    return Step(stage, compute)
