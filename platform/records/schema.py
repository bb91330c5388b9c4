"""What is kept of runs and sweeps for people: the tables that pages and summaries are made of."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..serialization import instant, typed
from ..storage.artifact_files import NAME
from ..storage.json_files import read_record, record_from_json
from .result_id import ResultId

OWN = "its own background"
"""`Score.threshold_from` of maps that bring a background plane, and of labels: none was chosen."""
FIXED = "a fixed value"
"""`Score.threshold_from` where the experiment gives the threshold."""
PARTS = ("discriminative", "other", "context")


def _check_names(what: str, names: Iterable[str]) -> None:
    """Raises ValueError where a name of `what` could lead out of a folder."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of {what}")


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one set of class maps segments one split, at every threshold and at one.

    All rates are fractions. `miou[t]` belongs to `thresholds[t]`. Values other than `miou`
    hold at `threshold`, which was chosen on the split `threshold_from` (or see OWN). An absent
    class has IoU None. `scored` are the indices into `classes` (0 is background) that the means
    run over. `parts` (only where a data set marks parts): the share of the pixels of each kind
    of PARTS that is activated for the class it belongs to. `boundary` (labels only): mean boundary
    F-score of the scored foreground classes. `confusion[target][prediction]`: pixels, of all
    classes, at `threshold`.
    """

    split: str
    n: int
    classes: tuple[str, ...]
    scored: tuple[int, ...]
    rule: str
    thresholds: tuple[float, ...]
    miou: tuple[float, ...]
    threshold: float
    threshold_from: str
    iou: tuple[float | None, ...]
    false_positives: float
    false_negatives: float
    precision: float
    recall: float
    parts: dict[str, float] | None = None
    boundary: float | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        sizes = {
            len(row) for row in (self.iou, *(self.confusion or ()), self.confusion or self.iou)
        }
        if len(self.miou) != len(self.thresholds) or sizes != {len(self.classes)}:
            raise ValueError("a score's values are not one for each threshold and class")
        if not all(0 <= t <= 1 for t in self.thresholds):
            raise ValueError("a score's thresholds are not between 0 and 1")
        if self.threshold not in self.thresholds:
            raise ValueError(f"a score's threshold {self.threshold} is not among its thresholds")
        if not all(0 <= k < len(self.classes) for k in self.scored):
            raise ValueError(f"a score's means run over {self.scored}, which are no classes")

    @property
    def value(self) -> float:
        """The mIoU at the chosen threshold."""
        return self.miou[self.thresholds.index(self.threshold)]


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of a run: `cached` where its artifact was already there."""

    stage: str
    title: str
    key: str
    seconds: float
    cached: bool

    def __post_init__(self) -> None:
        _check_names("a stage or an artifact", (self.stage, self.key))


Scores = dict[ResultId, dict[str, Score]]
"""Scores by result and split."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """An experiment carried out.

    `scores[id][split]`; `maps[id][split]` and `labels[id][split]`: the keys of the class maps and
    of the labels.
    """

    name: str
    method: str
    dataset: str
    seed: int
    experiment: dict[str, Any]
    digest: str
    command: str
    machine: str
    versions: dict[str, str]
    started: str
    seconds: float
    status: str = "done"
    shards: str = ""
    network: str = ""
    stages: tuple[StageRecord, ...] = ()
    scores: Scores = field(default_factory=dict)
    maps: dict[ResultId, dict[str, str]] = field(default_factory=dict)
    labels: dict[ResultId, dict[str, str]] = field(default_factory=dict)

    @property
    def subject(self) -> ResultId:
        """The class maps that the run is about."""
        return ResultId(localizer=self.method)

    def later(self) -> list[ResultId]:
        """What is scored that became of the subject: refinements, then segmenters."""
        ids = [i for i in self.scores if not i.baseline and (i.refinement or i.segmenter)]
        return sorted(ids, key=lambda i: bool(i.segmenter))

    def __post_init__(self) -> None:
        instant(self.started)
        for keys in (*self.maps.values(), *self.labels.values()):
            _check_names("a split", keys)
            _check_names("an artifact", keys.values())
        _check_names("an artifact", filter(None, (self.shards, self.network)))
        for id, of in self.scores.items():
            _check_names("a split", of)
            for split, score in of.items():
                if score.split != split:
                    raise ValueError(f"the score of {id} on {split} is of {score.split!r}")

    @property
    def began(self) -> datetime:
        """When the run started, in UTC."""
        return instant(self.started)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of a sweep; `status` is done, failed or stopped (by a scheduler, before the
    training's end), `value` the objective, of a stopped trial that at its last rung; `rungs`:
    epochs trained and the objective then."""

    id: str
    params: dict[str, Any]
    status: str
    seconds: float
    value: float | None = None
    score: Score | None = None
    error: str | None = None
    cached: bool = False
    seed: int = 0
    rungs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """The finished trials of one point of a space: mean and spread (standard deviation, 0 of
    one) of the objective; `tied` where the best point's mean lies within one spread."""

    trials: tuple[Trial, ...]
    mean: float
    spread: float
    tied: bool = False


def ranking(trials: Sequence[Trial]) -> list[Point]:
    """The points of a sweep by the mean of their objective, best first; those without a finished
    trial are left out."""
    of: dict[str, list[tuple[float, Trial]]] = {}
    for trial in trials:
        if trial.value is not None and trial.status == "done":
            key = json.dumps(trial.params, sort_keys=True)
            of.setdefault(key, []).append((trial.value, trial))
    points = [
        Point(
            trials=tuple(t for _, t in own),
            mean=statistics.fmean(v for v, _ in own),
            spread=statistics.stdev([v for v, _ in own]) if len(own) > 1 else 0.0,
        )
        for own in of.values()
    ]
    points.sort(key=lambda p: -p.mean)
    return [
        dataclasses.replace(p, tied=0 < max(p.spread, points[0].spread) >= points[0].mean - p.mean)
        for p in points
    ]


def field_labels(fields: Iterable[str]) -> dict[str, str]:
    """Return the shortest unambiguous label of each field among some fields.

    A label is the end of a field's dotted name: `tau` of `lpcam.tau`, but the full names of
    `training.lr` and `segment.training.lr` where a sweep varies both.

    Args:
        fields: full names; the same name may come more than once.
    """
    names = list(dict.fromkeys(fields))
    return {name: _label(name, [n for n in names if n != name]) for name in names}


def _label(field: str, others: Sequence[str]) -> str:
    """Return the shortest end of a field's dotted name that no other field ends with."""
    parts = field.split(".")
    for length in range(1, len(parts)):
        label = ".".join(parts[-length:])
        if not any(f".{other}".endswith(f".{label}") for other in others):
            return label
    return field


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """Many experiments that differ in the fields of `space`.

    `space`, `default` and the parameters of the trials name fields in full, e.g. `training.lr`;
    `labels` has their names for people.
    The objective is the best mIoU over the seed thresholds of `method` on `split`.
    `default` holds the parameters of the untuned preset. `run` and `untuned` name the runs of the
    best point and of the untuned preset, on all splits, of the first seed. `figure`: the paper's
    figure that the sweep is for.
    """

    name: str
    method: str
    dataset: str
    split: str
    space: dict[str, list[Any]]
    default: dict[str, Any]
    trials: tuple[Trial, ...]
    best: str | None
    run: str | None
    command: str
    started: str
    seconds: float
    digest: str
    figure: str = ""
    untuned: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The label of every field that the sweep names, by the field's full name."""
        params = (trial.params for trial in self.trials)
        return field_labels(itertools.chain(self.space, self.default, *params))

    def __post_init__(self) -> None:
        instant(self.started)

    @property
    def began(self) -> datetime:
        """When the sweep started, in UTC."""
        return instant(self.started)


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """How fast a stage was, in `unit`, beside another way to do it in the same run; `limit` is
    the share of what the machine can do of `bound`."""

    stage: str
    unit: str
    ours: float
    peer: float | None = None
    limit: float | None = None
    bound: str = ""


@dataclass(frozen=True, kw_only=True)
class SpeedRecord:
    """The table of `make bench`: when, on what."""

    name: str
    started: str
    machine: str
    rows: tuple[SpeedRow, ...]

    def __post_init__(self) -> None:
        instant(self.started)

    @property
    def began(self) -> datetime:
        """When it was measured, in UTC."""
        return instant(self.started)


def score_from_json(row: dict[str, Any] | None) -> Score | None:
    """A score from its JSON form; none from none.

    Raises:
        ValueError: it is no score.
    """
    found: Score | None = typed(Score | None, row, "the score", nan=True)
    return found


def trial_from_json(row: Any) -> Trial:
    """A trial from its JSON form.

    Raises:
        ValueError: it is no trial.
    """
    found: Trial = typed(Trial, row, "the trial", nan=True)
    return found


def run_from_json(row: Any, where: object) -> RunRecord:
    """The run in a record's JSON form, which came from `where`.

    Raises:
        InputError: it is not a run of this version.
    """
    found: RunRecord = record_from_json(row, RunRecord, where)
    return found


def sweep_from_json(row: Any, where: object) -> SweepRecord:
    """The sweep in a record's JSON form; raises InputError as `run_from_json` does."""
    found: SweepRecord = record_from_json(row, SweepRecord, where)
    return found


def read_run(path: Path) -> RunRecord:
    """The run in the file `path`.

    Raises:
        InputError: there is none, or it is not a run of this version.
    """
    found: RunRecord = read_record(path, RunRecord)
    return found


def read_sweep(path: Path) -> SweepRecord:
    """The sweep in the file `path`; raises InputError as `read_run` does."""
    found: SweepRecord = read_record(path, SweepRecord)
    return found


def machine() -> str:
    """Cores, memory and system of this machine, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
