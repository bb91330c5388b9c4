"""The plan of an experiment: its stages, their keys and inputs, and the names of their results.

    shards -> network -> class maps (and features) -> centres -> class maps -> scores
        -> refined labels -> segmenter -> predicted labels -> scores

A stage's key follows from options and from the keys of its inputs, so that the missing artifacts
are known before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..config.experiment import Experiment
from ..config.presets import USUAL_THRESHOLDS
from ..method import Method
from ..records.result_id import ResultId
from ..serialization import digest
from ..storage.artifact import Stage
from . import classify
from .context import Context, Step
from .prototypes.steps import BySplit, Chosen


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages of one experiment; a plan computes nothing and changes nothing.

    Attributes:
        context: the experiment, with `auto` resolved, and its data set.
        trained: the method whose losses train the classifier.
        localizer: the method whose class maps the experiment is about.
        steps: all stages and how to compute them, each after the stages that it reads.
        maps, labels, scores: the stages of each result, by split.
        final: the result that the experiment ends with: class maps, their refinement, or what a
            segmenter predicts.
        needs_no_threshold: the results without a threshold: labels that were not cut at the best
            one, and class maps with a background plane of their own.
        network, boundaries, segmenter: the stages that train; None without such a training.
        beside: superpixels and probabilities that the classifier's training reads.
        chosen: by split, the stages from which prototypes and their class maps are made.
        baseline: the plan of the experiment whose segmenter the method learns from.
        published: by name in `refine`, the thresholds that were published with the method and
            stand in for those that scores would choose, where no split is scored.
    """

    context: Context
    trained: Method
    localizer: Method
    steps: tuple[Step, ...]
    maps: Mapping[ResultId, BySplit]
    labels: Mapping[ResultId, BySplit]
    scores: Mapping[ResultId, BySplit]
    final: ResultId
    needs_no_threshold: frozenset[ResultId]
    network: Stage | None
    boundaries: Stage | None
    segmenter: Stage | None
    beside: classify.Beside
    chosen: Mapping[str, Chosen]
    baseline: Plan | None
    published: Mapping[str, float]

    @property
    def experiment(self) -> Experiment:
        """The experiment that is planned, with `auto` resolved."""
        return self.context.experiment

    @property
    def stages(self) -> list[Stage]:
        """The stages of the steps."""
        return [step.stage for step in self.steps]

    @property
    def subject(self) -> ResultId:
        """The class maps, or the imported labels, that the experiment is about."""
        return ResultId(localizer=self.experiment.localizer_name)

    @cached_property
    def digest(self) -> str:
        """The key of everything that the experiment's results depend on."""
        r = self.experiment.refine
        keys = [stage.key for stage in self.stages]
        parts = [keys, self.experiment.scoring, r.threshold, r.last_threshold]
        if self.baseline and self.baseline._scored != self._scored:
            parts += self.baseline._scored
        return digest(parts)

    @property
    def _scored(self) -> list[object]:
        """How results are scored: classes, splits, and a threshold that the user has chosen."""
        chosen = None if "threshold" in self.published else self.experiment.refine.threshold
        return [self.experiment.scoring, chosen]

    def fixed_threshold(self, id: ResultId) -> float | None:
        """Return the threshold that the experiment gives for a result, or None if it gives none."""
        r = self.experiment.refine
        if id.segmenter or id.localizer != self.subject.localizer:
            return None
        return r.last_threshold if id.refinement else r.threshold

    def cut_at(self, id: ResultId) -> float | None:
        """Return the threshold of class maps without scores; None for a background of their own.

        Where the experiment gives no threshold, which holds for class maps that it only passes
        through, it is a usual one.
        """
        if id in self.needs_no_threshold:
            return None
        fixed = self.fixed_threshold(id)
        return USUAL_THRESHOLDS["threshold"] if fixed is None else fixed

    def covers(self, other: Plan) -> bool:
        """Return whether this experiment scores the very class maps that `other` is about."""
        maps, id = self.maps.get(other.subject), other.subject
        if maps is None or other.final != id or other.labels or set(other.maps) - set(self.maps):
            return False
        if id != self.subject and other.experiment.refine.threshold is not None:
            return False  # `other` gives a threshold, but this experiment uses the best one

        def content(stage: Stage) -> list[object]:
            return [{**stage.config, "features": None}, stage.inputs]

        return all(
            split in maps and content(maps[split]) == content(stage)
            for split, stage in other.maps[id].items()
        )
