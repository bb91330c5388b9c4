"""From class maps to pseudo labels: cut, DenseCRF, or IRN's propagation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..ops.crf import CRFS
from ..refiner import Boundaries
from ..store import Stage, keyed
from .classify import plain
from .context import Context, Step

ABOVE, BELOW = 0.15, 0.10
"""How far from the seed's threshold the certain levels lie (a rule of thumb of ReCAM's author)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Class maps that labels are made from.

    Attributes:
        name: of the localizer.
        maps: by split.
        scored: the scores on the first scored split, which choose the threshold.
        own: whether the maps bring a background, so that none is chosen.
    """

    name: str
    maps: Mapping[str, Stage]
    scored: Stage
    own: bool

    def levels(self, context: Context, fixed: float | None) -> tuple[float, ...]:
        """The background's level of the seed: the factor 1 on its own, the fixed one, the best."""
        if self.own:
            return (1.0,)
        if fixed is not None:
            return (fixed,)
        return (context.read_score(self.scored, context.experiment.scoring.splits[0]).threshold,)

    def inputs(self, split: str, chosen: bool) -> dict[str, str]:
        """Of a stage on these maps; the scores are one where they choose a threshold."""
        scores = {"scores": self.scored.key} if chosen and not self.own else {}
        return {"maps": self.maps[split].key, **scores}


def labels(context: Context, source: Source, split: str, crf: str, level: float | None) -> Step:
    """Labels of a split: class maps cut at a threshold, refined by DenseCRF if `crf` is given."""
    chosen = level is None
    stage = Stage(
        name="labels",
        version=1,
        config={
            "crf": dataclasses.asdict(CRFS[crf]) if crf else None,
            "level": level,
            "split": split,
            **({"scored": context.scored} if chosen and not source.own else {}),
        },
        inputs={"shards": context.shards.key, **source.inputs(split, chosen)},
        title=f"{source.name} {'DenseCRF' if crf else 'seeds'} of {split}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        from ..stages import cluster
        from ..stages import labels as stage_code

        cluster.connect()
        cut = stage_code.Cut(
            levels=source.levels(context, level),
            crf=CRFS[crf] if crf else None,
            power=context.experiment.refine.power if crf else 1.0,
        )
        maps = context.artefact(source.maps[split]).files(".parquet")
        return stage_code.make(folder, context.pieces(split), maps, cut, context.count)

    return Step(stage, compute)


def certain(context: Context, source: Source, split: str) -> Step:
    """What is certainly foreground and certainly background, for IRN to learn from."""
    r = context.experiment.refine
    fixed = r.foreground is not None and r.background is not None
    stage = Stage(
        name="labels",
        version=1,
        config={
            "crf": dataclasses.asdict(CRFS[r.crf]),
            "levels": [r.foreground, r.background, r.threshold],
            "power": r.power,
            "split": split,
            **({} if fixed or source.own else {"scored": context.scored}),
        },
        inputs={"shards": context.shards.key, **source.inputs(split, not fixed)},
        title=f"{source.name} certain labels of {split}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        from ..stages import cluster
        from ..stages import labels as stage_code

        cluster.connect()
        if source.own:
            levels = (1.0, 0.5)  # SIPE: the background as it is, then at half
        else:
            middle = source.levels(context, r.threshold)[0] if not fixed else 0.0
            levels = (
                min(0.99, middle + ABOVE) if r.foreground is None else r.foreground,
                max(0.0, middle - BELOW) if r.background is None else r.background,
            )
        cut = stage_code.Cut(levels=levels, crf=CRFS[r.crf], power=r.power)
        maps = context.artefact(source.maps[split]).files(".parquet")
        return stage_code.make(folder, context.pieces(split), maps, cut, context.count)

    return Step(stage, compute)


def masks(context: Context, split: str) -> Step:
    """The true masks as labels: for an upper bound, and said so in the title."""
    stage = Stage(
        name="labels",
        version=1,
        config={"masks": True, "split": split},
        inputs={"shards": context.shards.key},
        title=f"TRUE masks of {split} (upper bound)",
    )

    def compute(folder: Path) -> dict[str, Any]:
        from ..stages import cluster, labels

        cluster.connect()
        return labels.copy_masks(folder, context.pieces(split), context.count)

    return Step(stage, compute)


def boundaries(context: Context, name: str, labels: Stage, split: str) -> Step:
    """IRN's boundary network."""
    e = context.experiment
    network = dataclasses.replace(e.network, frozen_stages=e.refine.frozen_stages)
    stage = Stage(
        name="boundaries",
        version=1,
        config={
            "network": keyed(network),
            "training": plain(e.refine.training),
            "pair_radius": e.refine.pair_radius,
            "split": split,
            "seed": e.seed,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train boundaries from {name}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        return context.train(
            folder,
            stage,
            learner=Boundaries(e.refine.pair_radius),
            network=network,
            training=e.refine.training,
            split=split,
            planes=labels,
        )

    return Step(stage, compute)


def walked(context: Context, source: Source, boundaries: Stage, split: str) -> Step:
    """Class maps spread inside the boundaries."""
    e = context.experiment
    config = {"radius": e.refine.radius, "beta": e.refine.beta, "steps": e.refine.steps}
    stage = Stage(
        name="maps",
        version=1,
        config={"method": "irn", "split": split, **config},
        inputs={
            "shards": context.shards.key,
            "boundaries": boundaries.key,
            "maps": source.maps[split].key,
        },
        title=f"{source.name} propagated, {split}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        from ..stages import cluster, walk

        cluster.connect()
        job = walk.Job(
            network=e.network,
            weights=str(context.artefact(boundaries).path("network.pt")),
            maps=str(context.artefact(source.maps[split]).folder),
            folder=str(folder),
            radius=e.refine.radius,
            beta=e.refine.beta,
            steps=e.refine.steps,
            batch_size=e.views.batch_size,
            actors=context.actors,
        )
        return walk.walk(folder, job, context.pieces(split), context.count)

    return Step(stage, compute)
