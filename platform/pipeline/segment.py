"""From pseudo labels to a segmenter and its predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..config.experiment import Network, Training
from ..config.fields import fingerprint
from ..errors import InputError
from ..models.backbones import build
from ..ops.crf import CRFS
from ..ray_runtime import cluster
from ..stages.training.label_learners import Segmenter
from ..storage.artifact import Stage
from .context import Context, Runtime, Step, TrainingTask

LEAST = 0.05
"""Classes that are nowhere as probable do not enter the DenseCRF of a prediction: 0.56 of its
time, and one pixel in 20,000 changes (12 images of VOC, a DeepLabV2 of 21 classes)."""


def backbone_of(context: Context) -> Network:
    """The segmenter's own, or the classifier's.

    Raises:
        InputError: it is another than the classifier's, which needs weights of its own, or does
            not fit the segmenter.
    """
    e = context.experiment
    s = e.segment
    name = s.backbone or e.network.backbone
    if s.network == "deeplabv2" and name.startswith("swin"):
        raise InputError(f"{name} cannot be dilated for deeplabv2; set segment.network=upernet")
    if s.backbone in ("", e.network.backbone):
        weights = s.weights or e.network.weights
        return Network(backbone=e.network.backbone, weights=weights, frozen_stages=s.frozen_stages)
    if not s.weights and build(s.backbone).pretrained:
        raise InputError(f"segment.backbone {s.backbone!r} needs segment.weights of its own")
    return Network(backbone=s.backbone, weights=s.weights, frozen_stages=s.frozen_stages)


def learner(context: Context) -> Segmenter:
    """With the experiment's options."""
    s = context.experiment.segment
    return Segmenter(s.scales, s.balanced, s.stride, s.network)


def training(context: Context, split: str) -> Training:
    """The recipe, its iterations as whole epochs of the split."""
    s = context.experiment.segment
    own = dataclasses.replace(s.training, split=split)
    if not s.iterations:
        return own
    rows = sum(piece.rows for piece in context.pieces(split))
    steps = max(1, rows // own.batch_size)
    return dataclasses.replace(own, epochs=max(1, round(s.iterations / steps)))


def segmenter(context: Context, name: str, labels: Stage, split: str) -> Step:
    """The trained segmenter."""
    e, how = context.experiment, training(context, split)
    stage = Stage(
        name="segmenter",
        version=1,
        config={
            "network": {"kind": e.segment.network, **fingerprint(backbone_of(context))},
            "stride": e.segment.stride,
            "scales": e.segment.scales,
            "balanced": e.segment.balanced,
            "training": fingerprint(how),
            "seed": e.seed,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train {e.segment.network} on {name} of {split}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        task = TrainingTask(
            learner=learner(context),
            network=backbone_of(context),
            training=how,
            split=split,
            planes=labels,
            field="segment.training",
        )
        return run.train(context, folder, stage, task)

    return Step(stage, compute, True)


def predicted(context: Context, segmenter: Stage, split: str, what: str) -> Step:
    """The segmenter's `labels` of a split, its `probabilities` on the grid of its largest view, or
    `coarse` ones of one view at stride 8, which know no image labels."""
    e, probabilities = context.experiment, what != "labels"
    known = e.segment.known and what != "coarse"
    if known and not context.catalog.has_labels(context.shards, split):
        raise InputError(f"no image of {split} has a label, so segment.known cannot hold there")
    config: dict[str, Any] = {"split": split, "scales": e.segment.scales}
    config |= {"probabilities": probabilities, **context.precision}
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

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        from ..stages.inference import segmentation

        cluster.connect()
        job = segmentation.Job(
            learner=learner(context),
            network=backbone_of(context),
            classes=len(context.classes),
            weights=str(run.artifact(segmenter).path("network.pt")),
            folder=str(folder),
            probabilities=probabilities,
            coarse=what == "coarse",
            known=known,
            views=context.views(),
            scales=scales,
        )
        return segmentation.predict(folder, job, context.pieces(split), run.count)

    return Step(stage, compute)


def smoothed(context: Context, probabilities: Stage, split: str) -> Step:
    """The labels of probabilities after DenseCRF."""
    crf = CRFS[context.experiment.segment.crf]
    stage = Stage(
        name="labels",
        version=1,
        config={"split": split, "crf": dataclasses.asdict(crf), "least": LEAST},
        inputs={"shards": context.shards.key, "maps": probabilities.key},
        title=f"DenseCRF of predictions on {split}",
    )

    def compute(run: Runtime, folder: Path) -> dict[str, Any]:
        from ..stages.labels import pseudo_labels

        cluster.connect()
        files = run.artifact(probabilities).files(".parquet")
        cut = pseudo_labels.Cut(levels=(1.0,), crf=crf, least=LEAST)
        return pseudo_labels.make(folder, context.pieces(split), files, cut, run.count)

    return Step(stage, compute)
