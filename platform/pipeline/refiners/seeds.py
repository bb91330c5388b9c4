"""Class maps from which labels are cut, and the stage that cuts them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...ops.crf import CRFS
from ...ray_runtime import cluster
from ...records.result_id import ResultId
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from ..context import Context, Runtime, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeds:
    """Class maps from which labels are cut.

    Attributes:
        id: name of the class maps.
        maps: stages of the class maps, by split.
        scored: stage of the scores on the first scored split, which choose the threshold.
        own: whether the maps have a background plane of their own, so that no threshold is chosen.
    """

    id: ResultId
    maps: Mapping[str, Stage]
    scored: Stage
    own: bool

    def best(self, context: Context, run: Runtime, power: float) -> float:
        """Return the best threshold on the first scored split, for the maps raised to a power."""
        split = context.experiment.scoring.splits[0]
        return float(run.read_score(context, self.scored, split).threshold ** power)

    def key(self, context: Context, split: str, fixed: bool) -> dict[str, Any]:
        """Return the arguments `config` and `inputs` of a `Stage` that reads these maps.

        Where the threshold is not fixed they include the scores that choose it.
        """
        chosen = not fixed and not self.own
        scores = {"scores": self.scored.key} if chosen else {}
        return {
            "config": {"split": split, **({"scored": context.scored} if chosen else {})},
            "inputs": {"shards": context.shards.key, "maps": self.maps[split].key, **scores},
        }


def labels(context: Context, seeds: Seeds, split: str, crf: str, fixed: float | None) -> Step:
    """Return the step that cuts the class maps of a split into labels.

    Args:
        context: context of the experiment.
        seeds: class maps.
        split: split to label.
        crf: name of the DenseCRF that refines the labels, or empty.
        fixed: threshold; None for the best one.
    """
    power = context.experiment.refine.power if crf else 1.0
    key = seeds.key(context, split, fixed is not None)
    stage = Stage(
        name="labels",
        version=1,
        config={
            **key["config"],
            "crf": dataclasses.asdict(CRFS[crf]) if crf else None,
            "level": None if seeds.own else fixed,
            "power": power,
            **(context.image_limit if crf else {}),
        },
        inputs=key["inputs"],
        title=f"{seeds.id} {'DenseCRF' if crf else 'seeds'} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        level = 1.0 if seeds.own else seeds.best(context, run, power) if fixed is None else fixed
        return cut(context, run, folder, seeds, split, (level,), crf, power)

    return Step(stage, compute)


def cut(
    context: Context,
    run: Runtime,
    folder: ArtifactFolder,
    seeds: Seeds,
    split: str,
    levels: tuple[float, ...],
    crf: str,
    power: float,
) -> dict[str, Any]:
    """Cut the class maps of a split into labels, see `stages.labels.pseudo_labels.Cut`."""
    from ...stages.labels import pseudo_labels

    cluster.connect()
    rule = pseudo_labels.Cut(
        levels=levels,
        crf=CRFS[crf] if crf else None,
        power=power,
        most_bytes=context.experiment.views.image_bytes,
    )
    maps = run.artifact(seeds.maps[split]).files(".parquet")
    return pseudo_labels.make(folder, context.pieces(split), maps, rule, run.count)
