"""From pseudo labels to a segmenter and its predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..experiment import Network, Training
from ..ops.crf import CRFS
from ..refiner import Segmenter
from ..store import Stage, keyed
from .classify import plain
from .context import Context, Step


def body(context: Context) -> Network:
    """The segmenter's own, or the classifier's."""
    e = context.experiment
    s = e.segment
    same = s.backbone in ("", e.network.backbone)
    return Network(
        backbone=s.backbone or e.network.backbone,
        weights=s.weights or (e.network.weights if same else None),
    )


def learner(context: Context) -> Segmenter:
    """With the experiment's options."""
    s = context.experiment.segment
    return Segmenter(s.scales, s.balanced, s.stride)


def training(context: Context, split: str) -> Training:
    """The recipe, its iterations as whole epochs of the split."""
    s = context.experiment.segment
    if not s.iterations:
        return s.training
    rows = sum(piece.rows for piece in context.pieces(split))
    steps = max(1, rows // s.training.batch_size)
    return dataclasses.replace(s.training, epochs=max(1, round(s.iterations / steps)))


def segmenter(context: Context, name: str, labels: Stage, split: str) -> Step:
    """The trained segmenter."""
    e, how = context.experiment, training(context, split)
    stage = Stage(
        name="segmenter",
        version=1,
        config={
            "network": {"kind": e.segment.network, **keyed(body(context))},
            "stride": e.segment.stride,
            "scales": e.segment.scales,
            "balanced": e.segment.balanced,
            "training": plain(how),
            "split": split,
            "seed": e.seed,
        },
        inputs={"shards": context.shards.key, "labels": labels.key},
        title=f"train {e.segment.network} on {name}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        return context.train(
            folder,
            stage,
            learner=learner(context),
            network=body(context),
            training=how,
            split=split,
            planes=labels,
        )

    return Step(stage, compute)


def predictions(context: Context, segmenter: Stage, split: str) -> Step:
    """The segmenter's labels of a split."""
    e = context.experiment
    crf = CRFS[e.segment.crf] if e.segment.crf else None
    stage = Stage(
        name="labels",
        version=1,
        config={
            "split": split,
            "scales": e.segment.scales,
            "crf": dataclasses.asdict(crf) if crf else None,
        },
        inputs={"shards": context.shards.key, "segmenter": segmenter.key},
        title=f"{e.segment.network} on {split}",
    )

    def compute(folder: Path) -> dict[str, Any]:
        from ..stages import cluster, predict

        cluster.connect()
        job = predict.Job(
            learner=learner(context),
            network=body(context),
            classes=len(context.classes),
            weights=str(context.artefact(segmenter).path("network.pt")),
            folder=str(folder),
            crf=crf,
            batch_size=max(1, e.views.batch_size // 2),
            actors=context.actors,
        )
        return predict.predict(folder, job, context.pieces(split), context.count)

    return Step(stage, compute)
