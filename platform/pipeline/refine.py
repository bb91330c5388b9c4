"""The stages that turn class maps into pseudo labels, by a threshold, DenseCRF or IRN."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.fields import fingerprint
from ..ops.crf import CRFS
from ..ray_runtime import cluster
from ..records.result_id import ResultId
from ..stages.training.label_learners import Boundaries
from ..storage.artifact import Stage
from ..storage.artifact_files import ArtifactFolder
from .context import Context, Runtime, Step, TrainingTask

if TYPE_CHECKING:
    from ..stages.labels.pseudo_labels import Cut

ABOVE, BELOW = 0.15, 0.10
"""Distances of the certain levels from the seed's threshold (a rule of thumb of ReCAM's author)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeds:
    """Class maps from which labels are cut.

    Attributes:
        id: name of the class maps.
        maps: stages of the class maps, by split.
        scored: stage of the scores on the first scored split, which choose the threshold.
        own: whether the maps have a background plane of their own, so that no threshold is chosen.
    """

    id: ResultId
    maps: Mapping[str, Stage]
    scored: Stage
    own: bool

    def best(self, context: Context, run: Runtime, power: float) -> float:
        """Return the best threshold on the first scored split, for the maps raised to a power."""
        split = context.experiment.scoring.splits[0]
        return float(run.read_score(context, self.scored, split).threshold ** power)

    def key(self, context: Context, split: str, fixed: bool) -> dict[str, Any]:
        """Return the arguments `config` and `inputs` of a `Stage` that reads these maps.

        Where the threshold is not fixed they include the scores that choose it.
        """
        chosen = not fixed and not self.own
        scores = {"scores": self.scored.key} if chosen else {}
        return {
            "config": {"split": split, **({"scored": context.scored} if chosen else {})},
            "inputs": {"shards": context.shards.key, "maps": self.maps[split].key, **scores},
        }


def labels(context: Context, seeds: Seeds, split: str, crf: str, fixed: float | None) -> Step:
    """Return the step that cuts the class maps of a split into labels.

    Args:
        context: context of the experiment.
        seeds: class maps.
        split: split to label.
        crf: name of the DenseCRF that refines the labels, or empty.
        fixed: threshold; None for the best one.
    """
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
            **(context.crf_key if crf else {}),
        },
        inputs=key["inputs"],
        title=f"{seeds.id} {'DenseCRF' if crf else 'seeds'} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        level = 1.0 if seeds.own else seeds.best(context, run, power) if fixed is None else fixed
        return _cut(context, run, folder, seeds, split, (level,), crf, power)

    return Step(stage, compute)


def certain(context: Context, seeds: Seeds, split: str) -> Step:
    """Return the step that labels what is certainly foreground or background, for IRN to learn."""
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
            **context.crf_key,
        },
        inputs=key["inputs"],
        title=f"{seeds.id} certain labels of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        return _cut(context, run, folder, seeds, split, levels(run), r.crf, r.power)

    def levels(run: Runtime) -> tuple[float, float]:
        if seeds.own:
            return 1.0, 0.5  # SIPE: the background unchanged, then halved
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
    folder: ArtifactFolder,
    seeds: Seeds,
    split: str,
    levels: tuple[float, ...],
    crf: str,
    power: float,
) -> dict[str, Any]:
    from ..stages.labels.pseudo_labels import Cut

    cut = Cut(levels=levels, crf=CRFS[crf] if crf else None, power=power)
    return cut_maps(context, run, folder, seeds.maps[split], split, cut)


def cut_maps(
    context: Context, run: Runtime, folder: ArtifactFolder, maps: Stage, split: str, cut: Cut
) -> dict[str, Any]:
    """Write the labels of a split, which a rule cuts from class maps, with the DenseCRF's backend.

    Args:
        context: context of the experiment, which gives the backend and the limit on the memory.
        run: surroundings of the computation.
        folder: empty folder that takes the files.
        maps: stage of the class maps.
        split: split to label.
        cut: the rule.

    Returns:
        Facts about the artifact for its manifest.
    """
    from ..stages.labels import batched_labels, pseudo_labels

    cluster.connect()
    cut = dataclasses.replace(cut, most_bytes=context.experiment.views.image_bytes)
    files, pieces = run.artifact(maps).files(".parquet"), context.pieces(split)
    if cut.crf and context.experiment.refine.crf_backend == "torch":
        by_name = {file.stem: file for file in files}
        job = batched_labels.Job(cut=cut, maps=by_name, folder=folder, views=context.views())
        return batched_labels.make(job, pieces, run.count)
    return pseudo_labels.make(folder, pieces, files, cut, run.count)


def masks(context: Context, split: str) -> Step:
    """Return the step that copies the true masks as labels, for an upper bound (see the title)."""
    stage = Stage(
        name="labels",
        version=1,
        config={"masks": True, "split": split},
        inputs={"shards": context.shards.key},
        title=f"TRUE masks of {split} (upper bound)",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.labels import pseudo_labels

        cluster.connect()
        return pseudo_labels.copy_masks(folder, context.pieces(split), run.count)

    return Step(stage, compute)


def boundaries(context: Context, id: ResultId, labels: Stage, split: str) -> Step:
    """Return the step that trains IRN's boundary network on the labels of a split."""
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

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
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
    """Return the step that spreads the class maps of a split inside the boundaries, as IRN does."""
    e = context.experiment
    r = e.refine
    config: dict[str, Any] = {"radius": r.radius, "beta": r.beta, "steps": r.steps}
    config |= {"power": r.walk_power} if r.walk_power != 1 else {}
    background = seeds.own and r.walk_background
    config |= {"background": True} if background else {}
    config |= context.inference
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

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.inference import propagation

        cluster.connect()
        job = propagation.Job(
            network=e.network,
            weights=run.artifact(boundaries).file("network.pt"),
            maps=run.artifact(seeds.maps[split]).folder,
            folder=folder,
            radius=e.refine.radius,
            beta=e.refine.beta,
            steps=e.refine.steps,
            power=e.refine.walk_power,
            background=background,
            views=context.views(),
        )
        return propagation.walk(job, context.pieces(split), run.count)

    return Step(stage, compute)
