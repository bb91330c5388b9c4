"""The stages that train a segmenter on pseudo labels and predict with it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from ..config.experiment import Segment
from ..config.fields import values_in_key
from ..config.groups.network import Network
from ..config.groups.training import Training
from ..errors import InputError
from ..models.backbones import check_stride, outline
from ..ops.crf import CRFS
from ..ray_runtime import cluster
from ..stages.training.label_learners import Segmenter
from ..storage.artifact import Stage
from ..storage.artifact_files import ArtifactFolder
from .checks.trainings import check_batches, check_files
from .context import Context, Runtime, Step, TrainingTask
from .refiners.seeds import cut_maps

LEAST = 0.05
"""Least probability, somewhere in an image, of a class that enters the DenseCRF of a prediction.

Leaving out the classes below it takes 0.56 of the time and changes one pixel in 20,000 (12 images
of VOC, a DeepLabV2 of 21 classes)."""


def backbone_of(context: Context) -> Network:
    """Return the backbone of the segmenter, by default the classifier's backbone.

    Raises:
        InputError: the backbone differs from the classifier's and has no weights, or it does not
            fit the segmenter.
    """
    e = context.experiment
    s = e.segment
    name = s.backbone or e.network.backbone
    if s.network == "deeplabv2":
        check_stride(name, s.stride)
    if s.backbone in ("", e.network.backbone):
        own = s if s.weights else e.network
        return dataclasses.replace(
            e.network,
            weights=own.weights,
            weights_key=own.weights_key,
            frozen_stages=s.frozen_stages,
        )
    if not s.weights and outline(s.backbone).pretrained:
        raise InputError(f"segment.backbone {s.backbone!r} needs weights; set segment.weights")
    return Network(
        backbone=s.backbone,
        weights=s.weights,
        weights_key=s.weights_key,
        frozen_stages=s.frozen_stages,
    )


def learner(context: Context) -> Segmenter:
    """Return the segmenter's losses, with the experiment's options."""
    s = context.experiment.segment
    return Segmenter(s.scales, s.balanced, s.stride, s.network)


def training(context: Context, split: str) -> Training:
    """Return the segmenter's schedule, its iterations rounded to whole epochs of a split."""
    s = context.experiment.segment
    schedule = dataclasses.replace(s.training, split=split)
    if not s.iterations:
        return schedule
    rows = sum(piece.rows for piece in context.pieces(split))
    steps = max(1, rows // schedule.batch_size)
    return dataclasses.replace(schedule, epochs=max(1, round(s.iterations / steps)))


def _own_values(s: Segment) -> dict[str, Any]:
    """Return the values in a segmenter's key that only its kind of network has."""
    if s.network == "upernet":
        return {"loss": "enlarged logits"}
    return {"stride": s.stride, "scales": s.scales}


def segmenter(context: Context, name: str, labels: Stage, split: str) -> Step:
    """Return the step that trains the segmenter on the labels of a split.

    Raises:
        InputError: the backbone or the batch size does not suit the training.
    """
    e, trained, network = context.experiment, learner(context), backbone_of(context)
    check_batches(e.segment.training, trained, context.shards, split, "segment.training")
    schedule = training(context, split)
    stage = Stage(
        name="segmenter",
        version=1,
        config={
            "network": {"kind": e.segment.network, **values_in_key(network)},
            **_own_values(e.segment),
            "balanced": e.segment.balanced,
            "training": values_in_key(schedule),
            **schedule.workers_key,
            "seed": e.seed,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train {e.segment.network} on {name} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        task = TrainingTask(
            learner=trained,
            network=network,
            training=schedule,
            split=split,
            planes=labels,
            field="segment.training",
        )
        return run.train(context, folder, stage, task)

    check = partial(check_files, network, trained, len(context.classes))
    return Step(stage, compute, True, check if e.segment.weights or e.imported else None)


def predicted(context: Context, segmenter: Stage, split: str, what: str) -> Step:
    """Return the step that predicts a split with the segmenter.

    `what` is `labels`, `probabilities` on the grid of the largest view, or `coarse` for
    probabilities of one view at stride 8, which use no image labels. InputError is raised where
    `segment.known` is set and no image of the split has a label.
    """
    e, probabilities = context.experiment, what != "labels"
    known = e.segment.known and what != "coarse"
    if known and not context.catalog.has_labels(context.shards, split):
        raise InputError(f"segment.known needs image labels; no image of {split} has one")
    config: dict[str, Any] = {"split": split}
    config |= {} if e.segment.network == "upernet" else {"scales": e.segment.scales}
    config |= {"probabilities": probabilities, **context.inference}
    config |= {"known": True} if known else {}
    scales = tuple(sorted(e.segment.test_scales)) if what != "coarse" else ()
    config |= {"test_scales": scales} if scales else {}
    stage = Stage(
        name="maps" if probabilities else "labels",
        version=1,
        config={**config, **({"coarse": True} if what == "coarse" else {})},
        inputs={"shards": context.shards.key, "segmenter": segmenter.key},
        title=f"{e.segment.network}{' probabilities' if probabilities else ''} on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.inference import actors, segmentation

        cluster.connect()
        job = segmentation.Job(
            learner=learner(context),
            network=backbone_of(context),
            classes=len(context.classes),
            weights=run.network_file(segmenter),
            folder=folder,
            probabilities=probabilities,
            coarse=what == "coarse",
            known=known,
            views=context.views(),
            scales=scales,
            fit=e.segment.training.fit,
        )
        return actors.compute(segmentation.Predict, job, context.pieces(split), run.count)

    return Step(stage, compute)


def smoothed(context: Context, probabilities: Stage, split: str) -> Step:
    """Return the step that turns predicted probabilities into labels by DenseCRF."""
    crf = CRFS[context.experiment.segment.crf]
    stage = Stage(
        name="labels",
        version=2,
        config={
            "split": split,
            "crf": dataclasses.asdict(crf),
            "least": LEAST,
            **context.crf_key,
        },
        inputs={"shards": context.shards.key, "maps": probabilities.key},
        title=f"DenseCRF of predictions on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ..stages.labels.pseudo_labels import Cut

        cut = Cut(levels=(1.0,), crf=crf, least=LEAST, probabilities=True)
        return cut_maps(context, run, folder, probabilities, split, cut)

    return Step(stage, compute)
