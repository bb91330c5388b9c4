"""The measuring of stages for Ray's metrics: a progress display, and the count of artifacts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from ..ray_runtime import metrics
from ..records.progress import ForwardingDisplay, ProgressDisplay
from ..storage.artifact import Artifact, Stage


class MeasuredDisplay(ForwardingDisplay):
    """A progress display that passes progress on to `inner` and counts the images of stages.

    Stages report their progress in units of their own, such as slices of the shards or steps of a
    training, of which each stands for the same number of images.
    """

    def __init__(self, inner: ProgressDisplay) -> None:
        super().__init__(inner)
        self.stage, self.batch, self.images = "", 0, 0
        self.done: int | None = None
        self.left = 0.0

    @contextlib.contextmanager
    def counted(self, stage: Stage, trains: bool, counts: Mapping[str, int]) -> Iterator[None]:
        """Count the images of a stage while a block computes it.

        The first progress of a training counts as its start, because it may go on from a
        checkpoint.

        Args:
            stage: the stage.
            trains: whether the stage trains a network.
            counts: numbers of images of the splits.
        """
        self.stage, self.left = stage.name, 0.0
        self.batch = stage.config["training"]["batch_size"] if trains else 0
        self.images = counts.get(stage.config.get("split", ""), 0)
        self.done = None if trains else 0
        try:
            yield
            metrics.add(metrics.IMAGES, self.left, stage.name)  # the last progress may stay unseen
        finally:
            if self.left:
                metrics.set_queue(0, stage.name)
            self.stage = ""

    def update(self, text: str, done: int, total: int) -> None:
        super().update(text, done, total)
        images_of_unit = self.batch or (self.images / total if total else 0.0)
        if not self.stage or not images_of_unit:
            return
        before = done if self.done is None else self.done
        self.done, self.left = done, (total - done) * images_of_unit
        metrics.add(metrics.IMAGES, (done - before) * images_of_unit, self.stage)
        metrics.set_queue(self.left, self.stage)


def count_artifact(stage: Stage, artifact: Artifact, seconds: float, cached: bool) -> None:
    """Count the artifact of a stage.

    Args:
        stage: the stage.
        artifact: its artifact.
        seconds: how long the stage took.
        cached: whether the artifact was in the store already.
    """
    metrics.add(metrics.STAGES, 1, stage.name, cached=str(cached).lower())
    if not cached:
        metrics.add(metrics.SECONDS, seconds, stage.name)
        sizes = (about["size"] for about in artifact.manifest["files"].values())
        metrics.add(metrics.BYTES, sum(sizes), stage.name)
