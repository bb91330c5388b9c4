"""The execution of a plan, which computes the missing artifacts in order."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence

from ..config.experiment import Experiment
from ..records.progress import ProgressDisplay
from ..records.result_id import ResultId
from ..records.schema import Score, Scores, StageRecord
from ..stages.stage_metrics import MeasuredDisplay, count_artifact
from ..storage.artifact import Artifact, Stage
from ..storage.store import Store
from .context import Catalog, Runtime, Step
from .plan import Plan
from .planner import plan
from .prototypes.steps import BySplit


class Execution:
    """The execution of one plan in one store.

    Args:
        store: store of the artifacts.
        plan: plan of the experiment.
        progress: progress display (default: silent).
    """

    def __init__(self, store: Store, plan: Plan, progress: ProgressDisplay | None = None) -> None:
        self.store, self.plan = store, plan
        self.measured = MeasuredDisplay(progress or ProgressDisplay())
        self.runtime = Runtime(store, self.measured)

    @classmethod
    def of(
        cls, store: Store, experiment: Experiment, progress: ProgressDisplay | None = None
    ) -> Execution:
        """Plan an experiment for the machine or cluster in use and return its execution."""
        return cls(store, plan(experiment, Catalog.of(store)), progress)

    @property
    def done(self) -> Mapping[str, tuple[Artifact, StageRecord]]:
        """The artifact and the record of each stage that was executed, by key."""
        return self.runtime.done

    def missing(self) -> list[Stage]:
        """Return the stages whose artifacts are not in the store."""
        return [s for s in self.plan.stages if not self.store.find(s.name, s.key)]

    def execute(self, before: Stage | None = None, without: Collection[Stage] = ()) -> None:
        """Read every artifact from the store, computing the missing ones.

        Args:
            before: stage before which the execution ends; None to execute all stages.
            without: stages that are left out.
        """
        left_out = {stage.key for stage in without}
        steps = [s for s in self.plan.steps if s.stage.key not in left_out]
        if before:
            steps = steps[: [s.stage.key for s in steps].index(before.key)]
        self.runtime.progress.plan([s.stage.title for s in steps])
        self.runtime.notes |= check_missing(self.store, steps)
        for step in steps:
            self._execute(step)

    def _execute(self, step: Step) -> None:
        run, stage, started = self.runtime, step.stage, time.monotonic()
        run.progress.start(stage.title)
        artifact, cached = self.compute(step)
        run.progress.finish(cached)
        if step.trains:
            self._forget_checkpoints(stage, cached)
        record = StageRecord(
            stage=stage.name,
            title=stage.title,
            key=stage.key,
            seconds=round(time.monotonic() - started, 3),
            cached=cached,
        )
        run.done[stage.key] = (artifact, record)

    def compute(self, step: Step) -> tuple[Artifact, bool]:
        """Return the artifact of a step, computed if missing, and whether it existed before."""
        stage, started = step.stage, time.monotonic()
        counts = self.plan.context.shards.about.get("counts", {})
        with self.measured.counted(stage, step.trains, counts):
            artifact, cached = self.store.get(
                stage, lambda folder: step.compute(self.runtime, folder)
            )
        count_artifact(stage, artifact, time.monotonic() - started, cached)
        return artifact, cached

    def _forget_checkpoints(self, stage: Stage, cached: bool) -> None:
        """Remove the checkpoints of a training whose artifact exists.

        A sweep with a scheduler may train the network further at the same time. It holds the
        network's lock meanwhile, and removes the checkpoints itself.
        """
        from ..stages.training import checkpoints

        home = self.runtime.home(stage)
        if not cached or home.exists():
            with contextlib.suppress(BlockingIOError), self.store.lock(stage.key, wait=False):
                checkpoints.forget(home)

    def read_scores(self, only: ResultId | None = None) -> Scores:
        """Return the scores of all results, the baseline's results first, or of one result.

        The threshold is chosen on the first split, unless the experiment gives it. Labels, and
        class maps with a background plane of their own, have none.
        """
        out: Scores = {}
        baseline = self.plan.baseline
        if baseline and only is None:
            inner = Execution(self.store, baseline, self.runtime.progress)
            inner.runtime.done = self.runtime.done
            for id, scores in inner.read_scores().items():
                out[dataclasses.replace(id, baseline=True)] = scores
        for id, stages in self.plan.scores.items():
            if only in (None, id):
                out[id] = self._read(id, stages)
        return out

    def _read(self, id: ResultId, stages: BySplit) -> dict[str, Score]:
        unchosen, fixed = id in self.plan.needs_no_threshold, self.plan.fixed_threshold(id)
        return self.runtime.read_scores(self.plan.context, stages, unchosen, fixed)


def check_missing(store: Store, steps: Sequence[Step]) -> dict[str, list[str]]:
    """Read the files that the steps without artifact need, before any stage is computed.

    Returns:
        How the weight files were read, by key of the stage.

    Raises:
        InputError: a file does not suit its step.
    """
    return {
        step.stage.key: step.check()
        for step in steps
        if step.check and not store.find(step.stage.name, step.stage.key)
    }


def with_baseline(plan: Plan, kind: str) -> dict[ResultId, BySplit]:
    """Return the `maps` or `labels` of a plan by result, the results of its baseline first."""
    out: dict[ResultId, BySplit] = {}
    if plan.baseline:
        for id, stages in with_baseline(plan.baseline, kind).items():
            out[dataclasses.replace(id, baseline=True)] = stages
    return {**out, **(plan.maps if kind == "maps" else plan.labels)}
