"""The stages of class maps from prototypes: clusters, similarities, and the maps by a choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...config.fields import values_in_key
from ...method import Method, PrototypeMethod
from ...ray_runtime import cluster
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..checks.splits import check_prototypes
from ..classify import inference_job, inferred, localization_key
from ..context import Context, Runtime, Step

BySplit = Mapping[str, Stage]
"""A stage for each split."""


def centers(context: Context, method: PrototypeMethod, maps: Stage) -> Step:
    """Return the step that clusters the features that were kept with class maps.

    Raises:
        InputError: the data set has too few classes or no labels for the method.
    """
    check_prototypes(method, context.experiment.data, context.shards)
    seed = context.experiment.seed
    options = dataclasses.asdict(method.clustering)
    if options["shift"] is None:
        del options["shift"]  # keys of stored centres, which are older than the option
    stage = Stage(
        name="centers",
        version=1,
        config={**options, "seed": seed},
        inputs={"maps": maps.key},
        title=f"{method.name} clusters",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.prototypes import clustering

        cluster.connect()
        return clustering.cluster_features(
            folder,
            run.artifact(maps).files(".npy"),
            method.clustering,
            seed,
            int(context.experiment.views.kept_gib * 2**30),
            lambda d, n: run.progress.update(f"round {d} of at most {n}", 0, 0),
        )

    return Step(stage, compute)


def similar(context: Context, method: PrototypeMethod, centers: Stage, maps: Stage) -> Step:
    """Return the step that compares the features kept with class maps with all cluster centres."""
    stage = Stage(
        name="similarities",
        version=1,
        config={},
        inputs={"features": maps.key, "centers": centers.key},
        title=f"{method.name} similarities of {maps.config['split']}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.prototypes import similarities
        from ...stages.prototypes.clustering import CENTERS

        cluster.connect()
        return similarities.compute(
            folder,
            run.artifact(maps).files(".npy"),
            run.artifact(centers).file(CENTERS),
            run.count,
        )

    return Step(stage, compute)


def fitted_method(
    run: Runtime, method: PrototypeMethod, network: Stage, centers: Stage
) -> tuple[PrototypeMethod, dict[int, list[int]]]:
    """Return a method that has chosen its prototypes, and their numbers by class."""
    from ...stages.prototypes import class_maps as prototypes_class_maps
    from ...stages.prototypes.clustering import CENTERS

    fitted = type(method)(method.settings)
    file, folder = run.artifact(centers).file(CENTERS), run.artifact(network).folder
    return fitted, prototypes_class_maps.chosen(file, folder, fitted)


def selection_settings(method: PrototypeMethod) -> dict[str, object]:
    """Return the values that the choice of prototypes depends on, by name."""
    settings = values_in_key(method.settings)
    return {**{n: settings.get(n) for n in method.selection}, **method.revision_settings()}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The stages from which prototypes are chosen, and the similarities that they apply to."""

    method: PrototypeMethod
    network: Stage
    centers: Stage
    similar: Stage

    def fitted(self, run: Runtime) -> tuple[PrototypeMethod, dict[int, list[int]]]:
        """Return a method that has chosen its prototypes, and their numbers by class."""
        return fitted_method(run, self.method, self.network, self.centers)

    def stage(self, split: str) -> Stage:
        """Return the stage of the class maps of a split."""
        return Stage(
            name="maps",
            version=1,
            config={
                "method": self.method.name,
                "settings": selection_settings(self.method),
                "split": split,
            },
            inputs={"similarities": self.similar.key, "network": self.network.key},
            title=f"{self.method.name} maps of {split}",
        )


def localized(context: Context, chosen: Chosen, split: str) -> Step:
    """Return the step that makes the class maps of a split from prototypes."""

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.prototypes import class_maps as prototypes_class_maps

        cluster.connect()
        method, counts = chosen.fitted(run)
        return prototypes_class_maps.localize(
            folder,
            run.artifact(chosen.similar).files(".npy"),
            counts,
            method,
            dict(enumerate(context.classes)),
            run.count,
            context.experiment.views.enlarging,
        )

    return Step(chosen.stage(split), compute)


def counts_at_once(context: Context, split: str) -> bool:
    """Return whether a split is small enough for `scored_at_once`."""
    from ...stages.prototypes import direct_scoring

    return direct_scoring.fits(tuple(context.pieces(split)))


def kept_bytes(context: Context, split: str) -> int:
    """Return the memory in bytes of the masks and part maps that `scored_at_once` keeps."""
    from ...stages.prototypes import direct_scoring

    planes = 2 if context.catalog.has_parts(context.shards, split) else 1
    return planes * direct_scoring.mask_bytes(tuple(context.pieces(split)))


def scored_at_once(context: Context, scores: Stage, chosen: Chosen, split: str) -> Step:
    """Return a step that computes the stage `scores` without writing the class maps of a split.

    The class maps are made from the chosen prototypes in memory.
    """

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.prototypes import direct_scoring

        method, _ = chosen.fitted(run)
        return direct_scoring.compute(
            folder,
            run.artifact(chosen.similar).files(".npy"),
            context.pieces(split),
            method.shares,
            len(context.classes) + 1,
            context.experiment.views.enlarging,
        )

    return Step(scores, compute)


def inferred_by_prototypes(
    context: Context,
    trained: Method,
    method: PrototypeMethod,
    network: Stage,
    centers: Stage,
    split: str,
) -> Step:
    """Return the step that infers the class maps of prototypes from images, and fuses them.

    Args:
        context: context of the experiment.
        trained: method that trained the network, and fuses.
        method: method that chooses prototypes among the centres.
        network: stage of the trained network.
        centers: stage of the cluster centres.
        split: split of the images.
    """
    stage = Stage(
        name="maps",
        version=1,
        config={
            "method": method.name,
            "settings": selection_settings(method),
            "split": split,
            "scales": context.experiment.views.scales,
            "fusion": trained.localizer_settings(),
            **localization_key(context),
        },
        inputs={"shards": context.shards.key, "network": network.key, "centers": centers.key},
        title=f"{method.name} maps of {split}, fused by {trained.name}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.inference import actors, class_maps

        cluster.connect()
        fitted, counts = fitted_method(run, method, network, centers)
        weights = run.network_file(network)
        job = inference_job(context, trained, fitted, weights, folder, keep=False, fused=True)
        about = actors.compute(class_maps.Infer, job, context.pieces(split), run.count)
        names = dict(enumerate(context.classes))
        return {**about, "prototypes": {names[n]: count for n, count in counts.items()}}

    return Step(stage, compute)


def chosen_maps(
    context: Context,
    method: PrototypeMethod,
    network: Stage,
    maps: BySplit,
    splits: Sequence[str],
    add: Callable[[Step], Stage],
) -> tuple[dict[str, Chosen], dict[str, Stage]]:
    """Plan class maps by prototypes, from features that were kept with other class maps.

    Args:
        context: context of the experiment.
        method: method that chooses prototypes.
        network: stage of the trained network.
        maps: stages of the class maps with features, by split.
        splits: splits of the class maps by prototypes.
        add: plans a step and returns its stage.

    Returns:
        The choices, and the stages of their class maps, by split.
    """
    clustered = add(centers(context, method, maps[method.clustering.split]))
    chosen = {}
    for s in splits:
        near = add(similar(context, method, clustered, maps[s]))
        chosen[s] = Chosen(method, network, clustered, near)
    return chosen, {s: add(localized(context, c, s)) for s, c in chosen.items()}


def fused_maps(
    context: Context,
    trained: Method,
    method: PrototypeMethod,
    network: Stage,
    splits: Sequence[str],
    add: Callable[[Step], Stage],
) -> dict[str, Stage]:
    """Plan class maps by prototypes that the method that trained fuses with its own.

    Args:
        context: context of the experiment.
        trained: method that trained the network, and fuses.
        method: method that chooses prototypes.
        network: stage of the trained network.
        splits: splits of the class maps.
        add: plans a step and returns its stage.

    Returns:
        Stages of the class maps by split.
    """
    split, divider = method.clustering.split, trained.divider()
    divided = add(inferred(context, trained, divider, network, split, keep=True))
    clustered = add(centers(context, method, divided))
    steps = {
        s: inferred_by_prototypes(context, trained, method, network, clustered, s) for s in splits
    }
    return {s: add(step) for s, step in steps.items()}
