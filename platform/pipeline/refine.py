"""From class maps to pseudo labels: cut, DenseCRF, or IRN's propagation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.fields import fingerprint
from ..ops.crf import CRFS
from ..ray_runtime import cluster
from ..records.result_id import ResultId
from ..stages.training.label_learners import Boundaries
from ..storage.artifact import Stage
from .context import Context, Runtime, Step, TrainingTask

ABOVE, BELOW = 0.15, 0.10
"""How far from the seed's threshold the certain levels lie (a rule of thumb of ReCAM's author)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeds:
    """Class maps that labels are cut from.

    Attributes:
        id: of the class maps.
        maps: by split.
        scored: the scores on the first scored split, which choose the threshold.
        own: whether the maps bring a background, so that none is chosen.
    """

    id: ResultId
    maps: Mapping[str, Stage]
    scored: Stage
    own: bool

    def best(self, context: Context, run: Runtime, power: float) -> float:
        """The threshold that is best on the first scored split, of the maps to a power."""
        split = context.experiment.scoring.splits[0]
        return float(run.read_score(context, self.scored, split).threshold ** power)

    def key(self, context: Context, split: str, fixed: bool) -> dict[str, Any]:
        """What a stage on these maps reads, as arguments of `Stage`; where the threshold is not
        fixed, the scores that choose it too."""
        chosen = not fixed and not self.own
        scores = {"scores": self.scored.key} if chosen else {}
        return {
            "config": {"split": split, **({"scored": context.scored} if chosen else {})},
            "inputs": {"shards": context.shards.key, "maps": self.maps[split].key, **scores},
        }


def labels(context: Context, seeds: Seeds, split: str, crf: str, fixed: float | None) -> Step:
    """Labels of a split: class maps cut at a threshold, refined by DenseCRF if `crf` is given."""
    power = context.experiment.refine.power if crf else 1.0
    key = seeds.key(context, split, fixed is not None)
    stage = Stage(
        name="labels",
        version=1,
        config={
            **key["config"],
            "crf": dataclasses.asdict(CRFS[crf]) if crf else None,
            "level": None if seeds.own else fixed,
            "power": power,
        },
        inputs=key["inputs"],
        title=f"{seeds.id} {'DenseCRF' if crf else 'seeds'} of {split}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        level = 1.0 if seeds.own else seeds.best(context, run, power) if fixed is None else fixed
        return _cut(context, run, folder, seeds, split, (level,), crf, power)

    return Step(stage, compute)


def certain(context: Context, seeds: Seeds, split: str) -> Step:
    """What is certainly foreground and certainly background, for IRN to learn from."""
    r = context.experiment.refine
    both = r.foreground is not None and r.background is not None
    key = seeds.key(context, split, both or r.threshold is not None)
    given = [r.foreground, r.background, None if both else r.threshold]
    stage = Stage(
        name="labels",
        version=1,
        config={
            **key["config"],
            "crf": dataclasses.asdict(CRFS[r.crf]),
            "levels": "own" if seeds.own else given,
            "power": r.power,
        },
        inputs=key["inputs"],
        title=f"{seeds.id} certain labels of {split}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        return _cut(context, run, folder, seeds, split, levels(run), r.crf, r.power)

    def levels(run: Runtime) -> tuple[float, float]:
        if seeds.own:
            return 1.0, 0.5  # SIPE: the background as it is, then at half
        middle = 0.0
        if not both:
            middle = seeds.best(context, run, r.power) if r.threshold is None else r.threshold
        return (
            min(0.99, middle + ABOVE) if r.foreground is None else r.foreground,
            max(0.0, middle - BELOW) if r.background is None else r.background,
        )

    return Step(stage, compute)


def _cut(
    context: Context,
    run: Runtime,
    folder: Path,
    seeds: Seeds,
    split: str,
    levels: tuple[float, ...],
    crf: str,
    power: float,
) -> dict[str, Any]:
    from ..stages.labels import pseudo_labels

    cluster.connect()
    cut = pseudo_labels.Cut(levels=levels, crf=CRFS[crf] if crf else None, power=power)
    maps = run.artifact(seeds.maps[split]).files(".parquet")
    return pseudo_labels.make(folder, context.pieces(split), maps, cut, run.count)


def masks(context: Context, split: str) -> Step:
    """The true masks as labels: for an upper bound, and said so in the title."""
    stage = Stage(
        name="labels",
        version=1,
        config={"masks": True, "split": split},
        inputs={"shards": context.shards.key},
        title=f"TRUE masks of {split} (upper bound)",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        from ..stages.labels import pseudo_labels

        cluster.connect()
        return pseudo_labels.copy_masks(folder, context.pieces(split), run.count)

    return Step(stage, compute)


def boundaries(context: Context, id: ResultId, labels: Stage, split: str) -> Step:
    """IRN's boundary network."""
    e = context.experiment
    network = dataclasses.replace(e.network, frozen_stages=e.refine.frozen_stages)
    stage = Stage(
        name="boundaries",
        version=1,
        config={
            "network": fingerprint(network),
            "training": fingerprint(dataclasses.replace(e.refine.training, split=split)),
            "pair_radius": e.refine.pair_radius,
            "seed": e.seed,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train boundaries from {id}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        task = TrainingTask(
            learner=Boundaries(e.refine.pair_radius),
            network=network,
            training=e.refine.training,
            split=split,
            planes=labels,
            field="refine.training",
        )
        return run.train(context, folder, stage, task)

    return Step(stage, compute, True)


def walked(context: Context, seeds: Seeds, boundaries: Stage, split: str) -> Step:
    """Class maps spread inside the boundaries."""
    e = context.experiment
    r = e.refine
    config: dict[str, Any] = {"radius": r.radius, "beta": r.beta, "steps": r.steps}
    config |= {"power": r.walk_power} if r.walk_power != 1 else {}
    background = seeds.own and r.walk_background
    config |= {"background": True} if background else {}
    config |= context.precision
    stage = Stage(
        name="maps",
        version=1,
        config={"method": "irn", "split": split, **config},
        inputs={
            "shards": context.shards.key,
            "boundaries": boundaries.key,
            "maps": seeds.maps[split].key,
        },
        title=f"{seeds.id} propagated, {split}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        from ..stages.inference import propagation

        cluster.connect()
        job = propagation.Job(
            network=e.network,
            weights=str(run.artifact(boundaries).path("network.pt")),
            maps=str(run.artifact(seeds.maps[split]).folder),
            folder=str(folder),
            radius=e.refine.radius,
            beta=e.refine.beta,
            steps=e.refine.steps,
            power=e.refine.walk_power,
            background=background,
            views=context.views(),
        )
        return propagation.walk(folder, job, context.pieces(split), run.count)

    return Step(stage, compute)
