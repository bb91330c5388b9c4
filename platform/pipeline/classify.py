"""The stages that train a classifier, infer class maps from it and score them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..config.fields import values_in_key
from ..errors import AheadError, InputError
from ..method import Method
from ..ray_runtime import cluster
from ..records.result_id import ResultId
from ..storage.artifact import Artifact, Stage
from ..storage.artifact_files import ArtifactFile, ArtifactFolder
from ..storage.storage import Location
from .checks.trainings import check_batches, check_files
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


Beside = tuple[Stage | None, Stage | None]
"""The stages of the superpixels and of the probabilities that a training reads besides images."""


def network_stage(context: Context, trained: Method, beside: Beside) -> Stage:
    """Return the stage of the trained classifier."""
    e, (superpixels, probabilities) = context.experiment, beside
    return Stage(
        name="network",
        version=1,
        config={
            "method": trained.name,
            "settings": {
                **trained.training_settings(),
                **trained.backbone_settings(e.network.backbone),
            },
            "network": values_in_key(e.network),
            "training": values_in_key(e.training),
            **e.training.workers_key,
            **e.training.precision_key,
            **({"crop": 2} if probabilities and e.training.crop % 8 else {}),  # 2: the whole crop
            "seed": e.seed,
        },
        inputs={
            "shards": context.shards.key,
            **({"superpixels": superpixels.key} if superpixels else {}),
            **({"probabilities": probabilities.key} if probabilities else {}),
        },
        title=f"train {trained.name}, {e.network.backbone}",
    )


def network(context: Context, trained: Method, beside: Beside) -> Step:
    """Return the step that trains the classifier.

    Raises:
        InputError: the batch size does not suit the training.
    """
    e, stage = context.experiment, network_stage(context, trained, beside)
    check_batches(e.training, trained, context.shards, e.training.split, "training")

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        return _train(context, run, stage, trained, beside, folder)

    check = partial(check_files, e.network, trained, len(context.classes))
    return Step(stage, compute, True, check if any(beside) else None)


def checkpoint(context: Context, trained: Method, beside: Beside, epochs: int) -> Step:
    """Return the step that keeps a training after some epochs, with its network.

    Trainings that differ in later changes of their options (`Training.changes`) begin from it.
    """
    context = before(context, epochs)
    network = network_stage(context, trained, beside)
    stage = Stage(
        name="checkpoint",
        version=1,
        config={"epochs": epochs},
        inputs={"network": network.key},
        title=f"{network.title} for {epochs} epochs",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.training import checkpoints

        arguments = (context, run, network, trained, beside, folder, epochs)
        with _stopped_training(stage, *arguments) as (home, about):
            checkpoints.keep(home, folder)
        return about

    return Step(stage, compute)


def before(context: Context, epochs: int) -> Context:
    """Return the context without the changes of the training's options after `epochs` or later."""
    training = context.experiment.training.before(epochs)
    return Context(dataclasses.replace(context.experiment, training=training), context.catalog)


def _start(
    context: Context, run: Runtime, trained: Method, beside: Beside, until: int | None
) -> Stage | None:
    """Return the last checkpoint of a training at a change of its options that the store holds.

    It lies before the epoch `until` at which the training stops, if this is given.
    """
    for epochs in reversed(context.experiment.training.change_epochs):
        if until is not None and epochs >= until:
            continue
        stage = checkpoint(context, trained, beside, epochs).stage
        if run.store.find(stage.name, stage.key):
            return stage
    return None


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
        start=_start(context, run, trained, beside, until),
    )
    return run.train(context, folder, stage, task)


@contextmanager
def _stopped_training(
    stage: Stage,
    context: Context,
    run: Runtime,
    network: Stage,
    trained: Method,
    beside: Beside,
    folder: ArtifactFolder,
    epochs: int,
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Train some epochs of a network for a stage, and yield the checkpoints and notes on them.

    If another process has trained the network further, the training begins again for the stage.
    """
    from ..stages.training import checkpoints

    arguments = (context, run, network, trained, beside, folder, epochs)
    with run.store.lock(network.key):
        try:
            about = _train(*arguments)
        except AheadError:  # a sweep with other rungs, or on another split, trained further
            home = run.home(stage)
            yield home, _train(*arguments, home)
            checkpoints.forget(home)
        else:
            yield run.home(network), about


def localization_key(context: Context) -> dict[str, Any]:
    """Return the options of inference that class maps depend on, as they enter keys."""
    return {**context.inference, **context.experiment.views.enlarging_key}


def _key_of_trained(trained: Method, method: Method, fused: bool) -> dict[str, Any]:
    """Return what class maps depend on of the method that trained the network, as it enters keys.

    The settings of its own localizer are in the key already.
    """
    if fused:
        return {"fusion": trained.localizer_settings()}
    changed = {} if method is trained else trained.inference_network_settings()
    return {"inference network": changed} if changed else {}


def rung(
    context: Context,
    trained: Method,
    network: Stage,
    beside: Beside,
    split: str,
    epochs: int,
    kept: Stage | None = None,
) -> Step:
    """Return the step that scores class maps, at scale 1 only, after some epochs of training.

    Args:
        context: context of the experiment.
        trained, network, beside: method that trains, its network and what it reads.
        split: split of the images.
        epochs: epochs of training.
        kept: stage of the training's checkpoint that holds the network; None to train it.
    """
    stage = Stage(
        name="rung",
        version=1,
        config={
            "epochs": epochs,
            "split": split,
            "settings": trained.localizer_settings(),
            **localization_key(context),
        },
        inputs={"shards": context.shards.key, "network": network.key},
        title=f"{network.title} for {epochs} epochs, score on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.training.ray_train import NETWORK

        cluster.connect()
        if kept:
            return _score_rung(context, trained, split, run.network_file(kept), folder)
        arguments = (context, run, network, trained, beside, folder, epochs)
        with _stopped_training(stage, *arguments):
            pass
        about = _score_rung(context, trained, split, folder / NETWORK, folder)
        folder.discard(NETWORK)
        return about

    return Step(stage, compute)


def _score_rung(
    context: Context, trained: Method, split: str, weights: ArtifactFile, folder: ArtifactFolder
) -> dict[str, Any]:
    """Score the class maps of a network, at scale 1 only, and return notes for the manifest."""
    from ..stages.inference import actors, class_maps
    from ..stages.labels import scoring

    pieces, maps = context.pieces(split), folder.subfolder("maps")
    job = inference_job(context, trained, trained, weights, maps, keep=False)
    # One scale is enough to decide whether the training is worth going on with.
    job = dataclasses.replace(job, views=dataclasses.replace(job.views, scales=(1.0,)))
    actors.compute(class_maps.Infer, job, pieces, _no_progress)
    artifact = Artifact(maps, {"stage": "maps", "files": maps.names()})
    about = scoring.score(folder, artifact, pieces, len(context.classes) + 1, _no_progress)
    folder.discard("maps")
    return about


def _no_progress(done: int, total: int) -> None:
    """Do nothing: a rung of a sweep shows no progress of its own."""


def inference_job(
    context: Context,
    trained: Method,
    method: Method,
    weights: ArtifactFile,
    folder: ArtifactFolder,
    keep: bool,
    fused: bool = False,
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
        fused=fused,
    )


def inferred(
    context: Context,
    trained: Method,
    method: Method,
    network: Stage,
    split: str,
    keep: bool = False,
    fused: bool = False,
) -> Step:
    """Return the step that infers the class maps of a split from its images.

    Args:
        context: context of the experiment.
        trained, network: method whose losses trained the network, and the network's stage.
        method, split: method that localizes with the network, and split of the images.
        keep: whether to keep the features, too.
        fused: whether the method that trained fuses the class maps with what its network adds.
    """
    stage = Stage(
        name="maps",
        version=1,
        config={
            "method": method.name,
            "settings": method.localizer_settings(),
            "split": split,
            "scales": context.experiment.views.scales,
            "features": keep,
            **_key_of_trained(trained, method, fused),
            **localization_key(context),
        },
        inputs={"shards": context.shards.key, "network": network.key},
        title=f"{method.name} maps{' and features' if keep else ''} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.inference import actors, class_maps

        if keep:
            _check_space(context, run, split)
        cluster.connect()
        file = run.network_file(network)
        job = inference_job(context, trained, method, file, folder, keep, fused)
        return actors.compute(class_maps.Infer, job, context.pieces(split), run.count)

    return Step(stage, compute)


def _check_space(context: Context, run: Runtime, split: str) -> None:
    """Check that the features of a split fit the store's disk."""
    from ..models import backbones
    from ..stages.inference import class_maps

    e, free = context.experiment, run.store.storage.free_bytes()
    outline = backbones.outline(e.network.backbone)
    pixel = 2 * outline.channels[3] / outline.strides[3] ** 2
    class_maps.check_space(context.pieces(split), e.views.scales, pixel, free)


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
