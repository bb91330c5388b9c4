"""The record of a run: one while it goes on, for those who follow it, and one at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..records.result_id import ResultId
from ..records.schema import RunRecord, Scores, StageRecord, machine
from ..storage.artifact import versions
from .execution import Execution, with_baseline
from .plan import Plan


def begun_run(execution: Execution, name: str, command: str, started: str) -> RunRecord:
    """Return the record of a run that has computed nothing yet; its stages have taken 0 seconds."""
    stages = [
        StageRecord(stage=s.name, title=s.title, key=s.key, seconds=0.0, cached=False)
        for s in execution.plan.stages
    ]
    return replace(_record(execution, name, command, started, stages), status="running")


def ended_run(
    execution: Execution, name: str, command: str, started: str, seconds: float
) -> RunRecord:
    """Return the record of a finished run, with its scores and the keys of its results."""
    plan = execution.plan
    stages = [record for _, record in execution.done.values()]
    splits = plan.experiment.scoring.splits
    return replace(
        _record(execution, name, command, started, stages),
        seconds=round(seconds, 2),
        network=plan.network.key if plan.network else "",
        notes=tuple(dict.fromkeys(_notes(execution))),
        scores=(scores := execution.read_scores()),
        thresholds=_thresholds(plan, scores),
        maps={
            id: {s: by_split[s].key for s in splits if s in by_split}
            for id, by_split in with_baseline(plan, "maps").items()
        },
        labels={
            id: {s: by_split[s].key for s in by_split}
            for id, by_split in with_baseline(plan, "labels").items()
        },
    )


def _thresholds(plan: Plan, scores: Scores) -> dict[ResultId, float | None]:
    """Return the threshold of each of a plan's class maps that have no score."""
    inner = _thresholds(plan.baseline, {}) if plan.baseline else {}
    own = {
        **{replace(id, baseline=True): threshold for id, threshold in inner.items()},
        **{id: plan.cut_at(id) for id in plan.maps},
    }
    return {id: threshold for id, threshold in own.items() if not scores.get(id)}


def _notes(execution: Execution) -> Iterator[str]:
    """Yield how each training read its weight file."""
    for artifact, _ in execution.done.values():
        yield from artifact.about.get("weights", [])


def _record(
    execution: Execution, name: str, command: str, started: str, stages: Sequence[StageRecord]
) -> RunRecord:
    plan = execution.plan
    e = plan.experiment
    digests = plan.context.shards.about.get("digests", {})
    scored = {split for by_split in plan.scores.values() for split in by_split}
    splits = dict.fromkeys((*e.scoring.splits, *sorted(scored)))
    return RunRecord(
        name=name,
        method=e.localizer_name,
        dataset=e.data,
        seed=e.seed,
        experiment=e.as_dict(),
        digest=plan.digest,
        command=command,
        machine=machine(),
        versions=versions(),
        started=started,
        seconds=0.0,
        shards=plan.context.shards.key,
        digests={split: digests[split] for split in splits if split in digests},
        stages=tuple(stages),
        unscored=plan.context.unscored_splits,
    )
