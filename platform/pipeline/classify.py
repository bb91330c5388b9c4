"""The stages that train a classifier, infer class maps from it and score them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..config.fields import fingerprint
from ..errors import AheadError, InputError
from ..method import Method, PrototypeMethod
from ..ray_runtime import cluster
from ..records.result_id import ResultId
from ..storage.artifact import Artifact, Stage
from ..storage.artifact_files import ArtifactFile, ArtifactFolder
from ..storage.storage import Location
from .context import Context, Runtime, Step, TrainingTask

if TYPE_CHECKING:
    from ..stages.inference.class_maps import Job


def regions(context: Context, kind: str, split: str) -> Step:
    """Return the step that computes the superpixels of a split."""
    stage = Stage(
        name="superpixels",
        version=3,
        config={"kind": kind, "split": split},
        inputs={"shards": context.shards.key},
        title=f"{kind} superpixels of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.labels import superpixels

        cluster.connect()
        return superpixels.compute(folder, context.pieces(split), kind, run.count)

    return Step(stage, compute)


def network(
    context: Context, trained: Method, superpixels: Stage | None, probabilities: Stage | None
) -> Step:
    """Return the step that trains the classifier."""
    e = context.experiment
    stage = Stage(
        name="network",
        version=1,
        config={
            "method": trained.name,
            "settings": trained.training_settings(),
            "network": fingerprint(e.network),
            "training": fingerprint(e.training),
            "seed": e.seed,
        },
        inputs={
            "shards": context.shards.key,
            **({"superpixels": superpixels.key} if superpixels else {}),
            **({"probabilities": probabilities.key} if probabilities else {}),
        },
        title=f"train {trained.name}, {e.network.backbone}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        return _train(context, run, stage, trained, (superpixels, probabilities), folder)

    return Step(stage, compute, True)


Beside = tuple[Stage | None, Stage | None]
"""The stages of the superpixels and of the probabilities that a training reads besides images."""


def _train(
    context: Context,
    run: Runtime,
    stage: Stage,
    trained: Method,
    beside: Beside,
    folder: ArtifactFolder,
    until: int | None = None,
    home: Location | None = None,
) -> dict[str, Any]:
    e = context.experiment
    task = TrainingTask(
        learner=trained,
        network=e.network,
        training=e.training,
        split=e.training.split,
        planes=beside[0],
        probabilities=beside[1],
        until=until,
        home=home,
    )
    return run.train(context, folder, stage, task)


def rung(
    context: Context, trained: Method, network: Stage, beside: Beside, split: str, epochs: int
) -> Step:
    """Return the step that scores class maps, at scale 1 only, after some epochs of training."""
    stage = Stage(
        name="rung",
        version=1,
        config={
            "epochs": epochs,
            "split": split,
            "settings": trained.localizer_settings(),
            **context.inference,
        },
        inputs={"shards": context.shards.key, "network": network.key},
        title=f"{network.title} for {epochs} epochs, score on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.inference import class_maps
        from ..stages.labels import scoring
        from ..stages.training import checkpoints, ray_train

        cluster.connect()
        arguments = (context, run, network, trained, beside, folder, epochs)
        with run.store.lock(network.key):
            try:
                _train(*arguments)
            except AheadError:  # a sweep with other rungs, or on another split, trained further
                home = run.home(stage)
                _train(*arguments, home)
                checkpoints.forget(home)
        pieces, maps = context.pieces(split), folder.subfolder("maps")
        job = _job(context, trained, trained, folder / ray_train.NETWORK, maps, keep=False)
        # One scale is enough to decide whether the training is worth going on with.
        views = dataclasses.replace(job.views, scales=(1.0,))
        class_maps.infer(dataclasses.replace(job, views=views), pieces, _no_progress)
        artifact = Artifact(maps, {"stage": "maps", "files": maps.names()})
        about = scoring.score(folder, artifact, pieces, len(context.classes) + 1, _no_progress)
        folder.discard("maps")
        folder.discard(ray_train.NETWORK)
        return about

    return Step(stage, compute)


def _no_progress(done: int, total: int) -> None:
    """Do nothing: a rung of a sweep shows no progress of its own."""


def _job(
    context: Context,
    trained: Method,
    method: Method,
    weights: ArtifactFile,
    folder: ArtifactFolder,
    keep: bool,
) -> Job:
    """Return the inference job of a method's class maps; Ray must have started."""
    from ..stages.inference import class_maps

    e = context.experiment
    return class_maps.Job(
        trained=trained,
        method=method,
        network=e.network,
        classes=len(context.classes),
        weights=weights,
        views=context.views(),
        folder=folder,
        keep_features=keep,
    )


def inferred(
    context: Context, trained: Method, method: Method, network: Stage, split: str, keep: bool
) -> Step:
    """Return the step that infers the class maps of a split from its images.

    Args:
        context: context of the experiment.
        trained: method whose losses trained the network.
        method: method that localizes with the network.
        network: stage of the trained network.
        split: split of the images.
        keep: whether to keep the features, too.
    """
    e = context.experiment
    stage = Stage(
        name="maps",
        version=1,
        config={
            "method": method.name,
            "settings": method.localizer_settings(),
            "split": split,
            "scales": e.views.scales,
            "features": keep,
            **context.inference,
        },
        inputs={"shards": context.shards.key, "network": network.key},
        title=f"{method.name} maps{' and features' if keep else ''} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..models import backbones
        from ..stages.inference import class_maps

        pieces = context.pieces(split)
        if keep:
            width = backbones.outline(e.network.backbone).channels[3]
            class_maps.check_space(
                pieces, e.views.scales, 2 * width, run.store.storage.free_bytes()
            )
        cluster.connect()
        weights = run.artifact(network).file("network.pt")
        job = _job(context, trained, method, weights, folder, keep)
        return class_maps.infer(job, pieces, run.count)

    return Step(stage, compute)


def centers(context: Context, method: PrototypeMethod, maps: Stage) -> Step:
    """Return the step that clusters the features that were kept with class maps."""
    seed = context.experiment.seed
    stage = Stage(
        name="centers",
        version=1,
        config={**dataclasses.asdict(method.clustering), "seed": seed},
        inputs={"maps": maps.key},
        title=f"{method.name} clusters",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.prototypes import clustering

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
        from ..stages.prototypes import similarities

        cluster.connect()
        return similarities.compute(
            folder,
            run.artifact(maps).files(".npy"),
            run.artifact(centers).file("centers.npz"),
            run.count,
        )

    return Step(stage, compute)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The stages from which prototypes are chosen, and the similarities that they apply to."""

    method: PrototypeMethod
    network: Stage
    centers: Stage
    similar: Stage

    def fitted(self, run: Runtime) -> tuple[PrototypeMethod, dict[int, list[int]]]:
        """Return a method that has chosen its prototypes, and their numbers by class."""
        from ..stages.prototypes import class_maps as prototypes_class_maps

        method = type(self.method)(self.method.settings)
        centers = run.artifact(self.centers).file("centers.npz")
        return method, prototypes_class_maps.chosen(
            centers, run.artifact(self.network).folder, method
        )

    def stage(self, split: str) -> Stage:
        """Return the stage of the class maps of a split."""
        settings = fingerprint(self.method.settings)
        return Stage(
            name="maps",
            version=1,
            config={
                "method": self.method.name,
                "settings": {
                    **{name: settings.get(name) for name in self.method.selection},
                    **self.method.code_settings(),
                },
                "split": split,
            },
            inputs={"similarities": self.similar.key, "network": self.network.key},
            title=f"{self.method.name} maps of {split}",
        )


def localized(context: Context, chosen: Chosen, split: str) -> Step:
    """Return the step that makes the class maps of a split from prototypes."""

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.prototypes import class_maps as prototypes_class_maps

        cluster.connect()
        method, counts = chosen.fitted(run)
        return prototypes_class_maps.localize(
            folder,
            run.artifact(chosen.similar).files(".npy"),
            counts,
            method,
            dict(enumerate(context.classes)),
            run.count,
        )

    return Step(chosen.stage(split), compute)


def counts_at_once(context: Context, split: str) -> bool:
    """Return whether a split is small enough for `scored_at_once`."""
    from ..stages.prototypes import direct_scoring

    return direct_scoring.fits(tuple(context.pieces(split)))


def scored_at_once(context: Context, scores: Stage, chosen: Chosen, split: str) -> Step:
    """Return a step that computes the stage `scores` without writing the class maps of a split.

    The class maps are made from the chosen prototypes in memory.
    """

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.prototypes import direct_scoring

        method, _ = chosen.fitted(run)
        return direct_scoring.compute(
            folder,
            run.artifact(chosen.similar).files(".npy"),
            context.pieces(split),
            method.shares,
            len(context.classes) + 1,
        )

    return Step(scores, compute)


def scores(context: Context, id: ResultId, split: str, results: Stage) -> Step:
    """Return the step that compares the class maps or labels of a split with its masks."""
    stage = Stage(
        name="scores",
        version=1,
        config={"split": split},
        inputs={"shards": context.shards.key, "maps": results.key},
        title=f"score {id} on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.labels import scoring

        cluster.connect()
        return scoring.score(
            folder,
            run.artifact(results),
            context.pieces(split),
            len(context.classes) + 1,
            run.count,
        )

    return Step(stage, compute)


def imported(stage: Stage, name: str) -> Step:
    """Return a step for imported class maps or labels, which cannot be computed."""

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        raise InputError(f"the import {name!r} is missing in the store; import it again")

    return Step(stage, compute)
