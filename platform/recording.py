"""The records of runs: as they begin, for who follows them, and as they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .runs import RunRecord, StageRecord, machine
from .store import versions

if TYPE_CHECKING:
    from .pipeline import Pipeline


def begun_run(pipeline: Pipeline, name: str, command: str, started: str) -> RunRecord:
    """What is known of a run before it has computed anything; no stage has taken time yet."""
    stages = [
        StageRecord(stage=s.name, title=s.title, key=s.key, seconds=0.0, cached=False)
        for s in (step.stage for step in pipeline.steps)
    ]
    return replace(_record(pipeline, name, command, started, stages), status="running")


def ended_run(
    pipeline: Pipeline, name: str, command: str, started: str, seconds: float
) -> RunRecord:
    """A run as it is kept, with its scores, and what it made."""
    e = pipeline.experiment
    record = _record(pipeline, name, command, started, [r for _, r in pipeline.done.values()])
    return replace(
        record,
        seconds=round(seconds, 2),
        network=pipeline.network.key if pipeline.network else "",
        scores=pipeline.read_scores(),
        maps={
            name: {s: of[s].key for s in e.scoring.splits if s in of}
            for name, of in pipeline.found("maps").items()
        },
        labels={n: {s: of[s].key for s in of} for n, of in pipeline.found("labels").items()},
    )


def _record(
    pipeline: Pipeline, name: str, command: str, started: str, stages: Sequence[StageRecord]
) -> RunRecord:
    e = pipeline.experiment
    return RunRecord(
        name=name,
        method=e.localizer_name,
        dataset=e.data,
        seed=e.seed,
        experiment=e.as_dict(),
        digest=pipeline.digest,
        command=command,
        machine=machine(),
        versions=versions(),
        started=started,
        seconds=0.0,
        shards=pipeline.shards.key,
        stages=tuple(stages),
    )
