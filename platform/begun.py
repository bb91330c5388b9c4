"""The records of runs and sweeps that have just begun, for who follows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .runs import RunRecord, StageRecord, SweepRecord
from .store import versions

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .trial import Sweep


def run(pipeline: Pipeline, name: str, command: str, started: str) -> RunRecord:
    """What is known of a run before it has computed anything; no stage has taken time yet."""
    wanted = pipeline.experiment
    return RunRecord(
        name=name,
        method=wanted.localizer_name,
        dataset=wanted.data,
        seed=wanted.seed,
        experiment=wanted.as_dict(),
        digest=pipeline.digest,
        command=command,
        machine="",
        versions=versions(),
        started=started,
        seconds=0.0,
        status="running",
        shards=pipeline.shards.key,
        stages=tuple(
            StageRecord(
                stage=step.stage.name,
                title=step.stage.title,
                key=step.stage.key,
                seconds=0.0,
                cached=False,
            )
            for step in pipeline.steps
        ),
    )


def sweep(wanted: Sweep, name: str, command: str) -> SweepRecord:
    """What is known of a sweep before its first trial."""
    return SweepRecord(
        name=name,
        method=wanted.subject,
        dataset=wanted.base.data,
        split=wanted.split,
        space={field.rpartition(".")[2]: list(v) for field, v in wanted.space.items()},
        default=wanted.default,
        trials=(),
        best=None,
        run=None,
        command=command,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=0.0,
        digest="",
    )
