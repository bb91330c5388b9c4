"""Merging of class-agnostic segments into the labels of class maps, or into imported labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...config.refiners.segments import KINDS
from ...errors import InputError
from ...interop import segment_files
from ...ray_runtime import cluster
from ...records.result_id import ResultId
from ...storage.artifact import Stage
from ...storage.artifact_files import ArtifactFolder
from .. import classify
from ..context import Context, Runtime, Step
from ..prototypes.steps import BySplit
from .base import Refined, Refiner
from .seeds import SeedMaps

if TYPE_CHECKING:
    from ...stages.labels.segment_merging import Inputs


class SegmentRefiner(Refiner):
    """Labels that take over class-agnostic segments by the rule of SEPL.

    Merging is no cut of a score. So the labels are merged and scored at every threshold of the
    class maps, and the labels of the best threshold are kept.
    """

    name: ClassVar[str] = "segments"

    def refine(self, seeds: SeedMaps) -> Refined:
        context, planning, id = self.context, self.planning, self.id_of(seeds.id)
        if seeds.own:
            return self._without_threshold(id, seeds)
        splits = context.scored_splits
        segments = {s: self._segments(s) for s in dict.fromkeys([*splits, *planning.label_splits])}
        scores = {
            s: planning.add(curve(context, id, seeds.maps[s], segments[s], s)) for s in splits
        }
        chosen = dataclasses.replace(seeds, id=id, scored=next(iter(scores.values()), None))
        labels = {
            s: planning.add(merged(context, chosen, segments[s], s)) for s in planning.label_splits
        }
        return Refined(id=id, scores=scores, labels=labels)

    def refine_labels(self, id: ResultId, labels: BySplit) -> Refined:
        refined_id = self.id_of(id)
        stages = {
            s: self.planning.add(
                merged_imports(self.context, refined_id, labels[s], self._segments(s), s)
            )
            for s in self.planning.label_splits
        }
        scores = self.planning.scored(refined_id, stages)
        return Refined(id=refined_id, scores=scores, labels=stages, unchosen=True)

    def _without_threshold(self, id: ResultId, seeds: SeedMaps) -> Refined:
        """Plan the merged labels of class maps that have a background plane of their own."""
        renamed = dataclasses.replace(seeds, id=id)
        stages = {
            s: self.planning.add(merged(self.context, renamed, self._segments(s), s))
            for s in self.planning.label_splits
        }
        scores = self.planning.scored(id, stages)
        return Refined(id=id, scores=scores, labels=stages, unchosen=True)

    def _segments(self, split: str) -> Stage:
        """Plan the segments of a split.

        Raises:
            InputError: source and folder do not fit each other, or a file is missing.
        """
        options = self.options.segments
        if options.folder and not options.kind:
            raise InputError(
                f"refine.segments.folder is {options.folder!r}, but refine.segments.source "
                f"{options.source!r} reads no files; set the source to {', '.join(KINDS)}, or "
                "leave out the folder"
            )
        if not options.kind:
            return self.planning.add(classify.regions(self.context, options.source, split))
        return self.planning.add(imported_segments(self.context, split))


def imported_segments(context: Context, split: str) -> Step:
    """Return the step that reads the segments of a split from a folder.

    Raises:
        InputError: there is no folder, or a file is missing.
    """
    options = context.experiment.refine.segments
    kind = options.kind
    assert kind
    if not options.folder:
        raise InputError(f"refine.segments.source {kind!r} needs files; set refine.segments.folder")
    folder = Path(options.folder)
    stage = Stage(
        name="segments",
        version=1,
        config={
            "kind": kind,
            "split": split,
            "fingerprint": segment_files.fingerprint(
                folder, kind, context.catalog.ids(context.shards, split)
            ),
        },
        inputs={"shards": context.shards.key},
        title=f"segments of {split} from {folder.name}",
    )

    def compute(run: Runtime, out: ArtifactFolder) -> dict[str, Any]:
        cluster.connect()
        return segment_files.import_folder(out, context.pieces(split), kind, folder, run.count)

    return Step(stage, compute)


def _inputs(context: Context, run: Runtime, source: Stage, segments: Stage) -> Inputs:
    from ...stages.labels.segment_merging import Inputs

    rule = context.experiment.refine.segments.rule
    return Inputs(run.artifact(source), run.artifact(segments), rule)


def _rule(context: Context) -> dict[str, Any]:
    """Return the rule of merging as it enters the keys of stages."""
    return dataclasses.asdict(context.experiment.refine.segments.rule)


def curve(context: Context, id: ResultId, maps: Stage, segments: Stage, split: str) -> Step:
    """Return the step that scores the merged labels of a split at every threshold."""
    stage = Stage(
        name="scores",
        version=1,
        config={"split": split, "merged": _rule(context)},
        inputs={"shards": context.shards.key, "seeds": maps.key, "segments": segments.key},
        title=f"score {id} on {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.labels import segment_merging

        cluster.connect()
        inputs, pieces = _inputs(context, run, maps, segments), context.pieces(split)
        count = len(context.classes) + 1
        return segment_merging.score(folder, pieces, inputs, count, run.count)

    return Step(stage, compute)


def merged(context: Context, seeds: SeedMaps, segments: Stage, split: str) -> Step:
    """Return the step that merges segments into the labels of class maps.

    Args:
        context: context of the experiment.
        seeds: class maps, with the name and the scores of the merged labels.
        segments: stage of the segments.
        split: split to label.
    """
    fixed = context.experiment.refine.segments.threshold
    key = seeds.key(context, split, fixed is not None)
    level = {} if seeds.own else {"level": fixed}
    stage = Stage(
        name="labels",
        version=1,
        config={**key["config"], "merged": _rule(context), **level},
        inputs={**key["inputs"], "segments": segments.key},
        title=f"{seeds.id} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.labels import segment_merging

        cluster.connect()
        chosen = 1.0 if seeds.own else seeds.best(context, run, 1.0) if fixed is None else fixed
        inputs = _inputs(context, run, seeds.maps[split], segments)
        return segment_merging.merge(folder, context.pieces(split), inputs, chosen, run.count)

    return Step(stage, compute)


def merged_imports(
    context: Context, id: ResultId, labels: Stage, segments: Stage, split: str
) -> Step:
    """Return the step that merges segments into imported labels."""
    stage = Stage(
        name="labels",
        version=2,
        config={"split": split, "merged": _rule(context)},
        inputs={"shards": context.shards.key, "labels": labels.key, "segments": segments.key},
        title=f"{id} of {split}",
    )

    def compute(run: Runtime, folder: ArtifactFolder) -> dict[str, Any]:
        from ...stages.labels import segment_merging

        cluster.connect()
        inputs = _inputs(context, run, labels, segments)
        return segment_merging.merge(folder, context.pieces(split), inputs, 1.0, run.count)

    return Step(stage, compute)
