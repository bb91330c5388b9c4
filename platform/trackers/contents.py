"""What trackers get of a run, a sweep or a trial, from its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..records.result_id import ResultId
from ..records.schema import RunRecord, Score, StageRecord, SweepRecord, Trial
from ..serialization import as_json
from .tracker import OBJECTIVE, Row, TrackedRun

SETTINGS = "settings."
"""Start of the names of a method's fields in a record, which people write without it."""


def flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested mappings by dotted name, as `--set` names the fields."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}".removeprefix(SETTINGS), value


def fields_of(experiment: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of an experiment by dotted name."""
    return dict(flat(as_json(experiment)))


def tracked_run(record: RunRecord | SweepRecord, base: Mapping[str, object]) -> TrackedRun:
    """Return a run or sweep as trackers know it.

    Args:
        record: its record, as far as it is known.
        base: fields of the experiment; of a run, its record has them.
    """
    common = {"dataset": record.dataset, "method": record.method, "command": record.command}
    tags = {**common, "started": record.started, "digest": record.digest}
    if isinstance(record, RunRecord):
        versions = {f"version.{name}": version for name, version in record.versions.items()}
        tags |= {"kind": "run", "machine": record.machine, **versions}
        return TrackedRun(name=record.name, fields=fields_of(record.experiment), tags=tags)
    fields = {**base, **record.default, "split": record.split}
    fields |= {f"space.{name}": as_json(values) for name, values in record.space.items()}
    return TrackedRun(name=record.name, fields=fields, tags={**tags, "kind": "sweep"})


def tracked_trial(sweep: TrackedRun, trial: Trial) -> TrackedRun:
    """Return a trial as trackers know it."""
    space = tuple(name for name in sweep.fields if name.startswith("space."))
    base = {name: value for name, value in sweep.fields.items() if name not in space}
    return TrackedRun(
        name=f"{sweep.name}-{trial.id}",
        fields={**base, **as_json(trial.params), "seed": trial.seed},
        tags={**sweep.tags, "kind": "trial", **({"error": trial.error} if trial.error else {})},
        sweep=sweep.name,
    )


def trial_rows(trial: Trial) -> list[tuple[int, dict[str, float]]]:
    """Return the numbers of a trial: its objective after each rung, and at its end."""
    rungs = [(epochs, {"rungs/miou": value}) for epochs, value in trial.rungs]
    end = {"seconds": trial.seconds}
    if trial.value is not None:
        end[OBJECTIVE] = trial.value
    return [*rungs, (0, end)]


def score_numbers(record: RunRecord) -> dict[str, float]:
    """Return the numbers of a finished run: mIoU by split and result, and seconds by stage.

    The number without a split is that of the last result on its last split. The names
    of mIoUs have one more word than their results: in a folder of files, MLflow keeps each number
    in a file of its name, and `lpcam` cannot be both a file and the folder of `lpcam/irn`.
    """
    values: dict[str, float] = {}
    for id, split, score in _scores(record):
        values[f"scores/{split}/{id}/miou"] = values[OBJECTIVE] = score.value
    for name, stage in stage_names(record).items():
        values[f"seconds/{name}"] = stage.seconds
    values["seconds/run"] = record.seconds
    return values


def score_table(record: RunRecord) -> list[Row]:
    """Return the rows of the table of a run's scores."""
    return [
        {
            "result": str(id),
            "split": split,
            "images": score.n,
            "mIoU": score.value,
            "threshold": score.threshold,
            "chosen on": score.threshold_from,
            "precision": score.precision,
            "recall": score.recall,
            "false positives": score.false_positives,
            "false negatives": score.false_negatives,
            "boundary": score.boundary,
            "rule": score.rule,
        }
        for id, split, score in _scores(record)
    ]


def class_table(record: RunRecord) -> list[Row]:
    """Return the rows of the table of a run's IoU by class; an absent class has none."""
    return [
        {"result": str(id), "split": split, "class": name, "IoU": iou}
        for id, split, score in _scores(record)
        for name, iou in zip(score.classes, score.iou, strict=True)
    ]


def confusions(record: RunRecord) -> Iterator[tuple[str, Score]]:
    """Yield the name and the score of each confusion matrix of a run."""
    for id, split, score in _scores(record):
        if score.confusion:
            yield f"confusion/{split}/{id}", score


def _scores(record: RunRecord) -> Iterator[tuple[ResultId, str, Score]]:
    for id, by_split in record.scores.items():
        for split, score in by_split.items():
            yield id, split, score


def stage_names(record: RunRecord) -> dict[str, StageRecord]:
    """Return the stages of a run by the names of their numbers, in order.

    A stage has its own name, with a number where several stages have it: network, network-2.
    """
    out: dict[str, StageRecord] = {}
    for stage in record.stages:
        earlier = sum(s.stage == stage.stage for s in out.values())
        out[f"{stage.stage}-{earlier + 1}" if earlier else stage.stage] = stage
    return out
