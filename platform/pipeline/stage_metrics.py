"""The measuring of stages, for Ray's metrics."""

from __future__ import annotations

from collections.abc import Mapping

from ..ray_runtime import metrics
from ..records.progress import ForwardingDisplay, ProgressDisplay
from ..storage.artifact import Artifact
from .context import Step


class MeasuredDisplay(ForwardingDisplay):
    """A progress display that passes progress on to `inner` and counts the images of stages.

    Stages report their progress in units of their own, such as slices of the shards or steps of a
    training, of which each stands for the same number of images.
    """

    def __init__(self, inner: ProgressDisplay) -> None:
        super().__init__(inner)
        self.stage, self.batch, self.images = "", 0, 0
        self.done: int | None = None

    def begin(self, step: Step, counts: Mapping[str, int]) -> None:
        """Begin to measure a stage.

        Args:
            step: the stage and how it is computed.
            counts: numbers of images of the splits.
        """
        config = step.stage.config
        self.stage = step.stage.name
        self.batch = config["training"]["batch_size"] if step.trains else 0
        self.images = counts.get(config.get("split", ""), 0)
        self.done = None if step.trains else 0  # a training may go on from a checkpoint

    def update(self, text: str, done: int, total: int) -> None:
        super().update(text, done, total)
        images_of_unit = self.batch or (self.images / total if total else 0.0)
        if not self.stage or not images_of_unit:
            return
        before = done if self.done is None else self.done
        self.done = done
        metrics.add(metrics.IMAGES, (done - before) * images_of_unit, self.stage)
        metrics.set_queue((total - done) * images_of_unit, self.stage)

    def end(self, artifact: Artifact, seconds: float, cached: bool) -> None:
        """Count the artifact of the stage.

        Args:
            artifact: the artifact.
            seconds: how long the stage took.
            cached: whether the artifact was in the store already.
        """
        metrics.add(metrics.STAGES, 1, self.stage, cached=str(cached).lower())
        if not cached:
            metrics.set_queue(0, self.stage)
            metrics.add(metrics.SECONDS, seconds, self.stage)
            sizes = (about["size"] for about in artifact.manifest["files"].values())
            metrics.add(metrics.BYTES, sum(sizes), self.stage)
        self.stage = ""
