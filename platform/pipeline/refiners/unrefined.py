"""Pseudo labels without refinement: seed masks, and the true masks for an upper bound."""

from __future__ import annotations

from typing import Any, ClassVar

from ...ray_runtime import cluster
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..context import Context, Runtime, Step
from .base import Refined, Refiner
from .seeds import SeedMaps, labels


class Unrefined(Refiner):
    """Class maps that are cut at a threshold."""

    name: ClassVar[str] = ""

    def refine(self, seeds: SeedMaps) -> Refined | None:
        return None

    def labels(self, seeds: SeedMaps, split: str) -> Stage:
        return self.planning.add(labels(self.context, seeds, split, "", self.options.threshold))


class TrueMasks(Refiner):
    """The true masks in place of labels."""

    name: ClassVar[str] = "masks"

    def refine(self, seeds: SeedMaps) -> Refined | None:
        return None

    def labels(self, seeds: SeedMaps, split: str) -> Stage:
        return self.planning.add(masks(self.context, split))


def masks(context: Context, split: str) -> Step:
    """Return the step that copies the true masks as labels, for an upper bound."""
    stage = Stage(
        name="labels",
        version=1,
        config={"masks": True, "split": split},
        inputs={"shards": context.shards.key},
        title=f"TRUE masks of {split} (upper bound)",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.labels import pseudo_labels

        cluster.connect()
        return pseudo_labels.copy_masks(folder, context.pieces(split), run.count)

    return Step(stage, compute)
