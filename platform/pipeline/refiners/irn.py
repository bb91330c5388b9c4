"""Refinement by IRN: certain labels, a boundary network that learns them, and a random walk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from ...config.experiment import Refine
from ...config.fields import values_in_key
from ...config.groups.network import Network
from ...data.formats.class_maps import strided_suffix
from ...errors import InputError
from ...ops.affinity_loss import interior
from ...ops.crf import CRFS
from ...ops.maps import grid_size
from ...ray_runtime import cluster
from ...records.result_id import ResultId
from ...stages.training.label_learners import Boundaries
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..checks.trainings import check_batches, check_files
from ..classify import localization_key
from ..context import Context, Runtime, Step, TrainingTask
from .base import Refined, Refiner
from .seeds import ABOVE, BELOW, SeedMaps, cut_seeds, raised

CERTAIN_CRF = "irn"
"""The DenseCRF of certain labels, IRN's own: it is part of the refinement, not of the method."""


class IRN(Refiner):
    """IRN's random walk inside boundaries that a network has learnt."""

    name: ClassVar[str] = "irn"

    def learnt_splits(self) -> Mapping[str, str]:
        return {self._split: "refine.training.split"} if self._learns_boundaries else {}

    @property
    def _split(self) -> str:
        """The split that the boundary network learns from."""
        return self.options.training.split or self.context.experiment.training.split

    @property
    def _learns_boundaries(self) -> bool:
        """Whether the experiment trains a boundary network rather than taking the baseline's."""
        e, baseline = self.context.experiment, self.context.experiment.baseline
        if e.imported or self.options.boundaries == "own" or not baseline:
            return True
        brings = self.context.catalog.brings_probabilities(baseline.imported)
        if baseline.refine.kind != self.name or brings:
            return True
        return _architecture(baseline.network) != _architecture(e.network)

    def refine(self, seeds: SeedMaps) -> Refined:
        context, planning = self.context, self.planning
        id, network = self.id_of(seeds.id), self._boundary_network(seeds)
        maps = {s: planning.add(walked(context, seeds, network, s)) for s in planning.splits}
        scores = planning.scored(id, maps)
        own = seeds.own and self.options.walk_background
        return Refined(id=id, scores=scores, maps=maps, unchosen=own, boundaries=network)

    def _boundary_network(self, seeds: SeedMaps) -> Stage:
        """Return the baseline's boundary network if it is taken over, else plan a new one."""
        if not self._learns_boundaries:
            assert self.planning.baseline is not None
            assert self.planning.baseline.boundaries is not None
            return self.planning.baseline.boundaries
        certain_labels = self.planning.add(certain(self.context, seeds, self._split))
        return self.planning.add(boundaries(self.context, seeds.id, certain_labels, self._split))


def _architecture(network: Network) -> tuple[object, ...]:
    """Return the options that the outputs of a trained backbone depend on."""
    return network.backbone, network.positions, network.sizes, network.final_norm


def certain(context: Context, seeds: SeedMaps, split: str) -> Step:
    """Return the step that labels what is certainly foreground or background, for IRN to learn.

    Its DenseCRF is always that of IRN's code; `refine.crf` has no effect.
    """
    r = context.experiment.refine
    both = r.foreground is not None and r.background is not None
    key = seeds.key(context, split, both or r.threshold is not None)
    threshold = raised(r.threshold, r.power)
    given = [r.foreground, r.background, None if both else threshold]
    stage = Stage(
        name="labels",
        version=1,
        config={
            **key["config"],
            "crf": dataclasses.asdict(CRFS[CERTAIN_CRF]),
            "levels": "own" if seeds.own else given,
            "power": r.power,
            **context.crf_key,
        },
        inputs=key["inputs"],
        title=f"{seeds.id} certain labels of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        return cut_seeds(context, run, folder, seeds, split, levels(run), CERTAIN_CRF, r.power)

    def levels(run: Runtime) -> tuple[float, float]:
        if seeds.own:
            return 1.0, 0.5  # SIPE: the background unchanged, then halved
        middle = 0.0
        if not both:
            middle = seeds.best(context, run, r.power) if threshold is None else threshold
        return (
            min(0.99, middle + ABOVE) if r.foreground is None else r.foreground,
            max(0.0, middle - BELOW) if r.background is None else r.background,
        )

    return Step(stage, compute)


def boundaries(context: Context, id: ResultId, labels: Stage, split: str) -> Step:
    """Return the step that trains IRN's boundary network on the labels of a split.

    Raises:
        InputError: no position of a crop has all its neighbours in the crop, but only the pairs of
            such positions are learnt from; or the batch size does not suit the training.
    """
    e = context.experiment
    _check_interior(e.refine)
    learner = Boundaries(e.refine.pair_radius, e.refine.pairs, e.views.enlarging)
    check_batches(e.refine.training, learner, context.shards, split, "refine.training")
    network = dataclasses.replace(e.network, frozen_stages=e.refine.frozen_stages)
    stage = Stage(
        name="boundaries",
        version=1,
        config={
            "network": values_in_key(network),
            "training": values_in_key(dataclasses.replace(e.refine.training, split=split)),
            **e.refine.training.workers_key,
            "pair_radius": e.refine.pair_radius,
            **({"pairs": e.refine.pairs} if e.refine.pairs != "all" else {}),
            "seed": e.seed,
            **e.views.enlarging_key,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train boundaries from {id}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        task = TrainingTask(
            learner=learner,
            network=network,
            training=e.refine.training,
            split=split,
            planes=labels,
            field="refine.training",
        )
        return run.train(context, folder, stage, task)

    check = partial(check_files, network, learner, len(context.classes))
    return Step(stage, compute, True, check if e.imported else None)


def _check_interior(r: Refine) -> None:
    _, columns = interior(r.pair_radius, *grid_size(r.training.crop, r.training.crop))
    if r.pairs == "interior" and columns.stop == columns.start:
        raise InputError(
            f"refine.training.crop {r.training.crop} holds no position with all neighbours nearer "
            f"than refine.pair_radius {r.pair_radius}; enlarge the crop or set refine.pairs=all"
        )


def walked(context: Context, seeds: SeedMaps, boundaries: Stage, split: str) -> Step:
    """Return the step that spreads the class maps of a split inside the boundaries, as IRN does."""
    e = context.experiment
    r = e.refine
    config: dict[str, Any] = {"radius": r.radius, "beta": r.beta, "steps": r.steps}
    config |= {"power": r.walk_power} if r.walk_power != 1 else {}
    background = seeds.own and r.walk_background
    config |= {"background": True} if background else {}
    config |= localization_key(context)
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
        from ...stages.inference import actors, propagation

        cluster.connect()
        maps = run.artifact(seeds.maps[split])
        job = propagation.Job(
            network=e.network,
            weights=run.network_file(boundaries),
            maps=maps.folder,
            suffix=strided_suffix(maps),
            folder=folder,
            radius=e.refine.radius,
            beta=e.refine.beta,
            steps=e.refine.steps,
            power=e.refine.walk_power,
            background=background,
            views=context.views(),
        )
        return actors.compute(propagation.Walk, job, context.pieces(split), run.count)

    return Step(stage, compute)
