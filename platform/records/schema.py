"""The records of runs, sweeps and benchmarks, from which pages and summaries are made."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ..serialization import parse_time, typed
from ..storage.artifact_files import NAME
from ..storage.json_files import Readable, read_record, record_from_json
from .field_labels import field_labels
from .result_id import ResultId

FROM_OWN_BACKGROUND = "its own background"
"""`Score.threshold_from` of labels, and of class maps with a background plane of their own."""
FROM_FIXED_VALUE = "a fixed value"
"""`Score.threshold_from` where the experiment gives the threshold."""
PARTS = ("discriminative", "other", "context")
"""The kinds of regions that a data set may mark: parts of objects, and their context."""
OBJECTIVES = ("miou", "precision", "recall", "parts", "seconds")
"""Names of the objectives of sweeps."""


def _check_names(what: str, names: Iterable[str]) -> None:
    """Check that no name could lead out of a folder; raises ValueError if one could."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid name of {what}")


@dataclass(frozen=True, kw_only=True)
class Score:
    """The scores of one set of class maps or labels on one split.

    Rates are fractions, defined as in `metrics.Summary`. Values other than `miou` hold at
    `threshold`.

    Attributes:
        n: number of scored images.
        classes: names of the classes, background first.
        scored: indices into `classes` of the classes that the means run over.
        rule: evaluation rule, in words.
        thresholds: seed thresholds, 0..1.
        miou: mean IoU at each of `thresholds`.
        threshold: the threshold that was chosen, one of `thresholds`.
        threshold_from: split on which `threshold` was chosen, or FROM_OWN_BACKGROUND or
            FROM_FIXED_VALUE.
        iou: IoU of each class; None for an absent class.
        parts: for each of PARTS, the share of its pixels that are activated for the class to
            which they belong; None where the data set marks no parts.
        boundary: mean boundary F-score of the scored foreground classes; None for class maps.
        confusion: pixel counts of all classes, by target and then by prediction.
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
            raise ValueError("a score does not have one value for each threshold and each class")
        if not all(0 <= t <= 1 for t in self.thresholds):
            raise ValueError("a score's thresholds are not between 0 and 1")
        if self.threshold not in self.thresholds:
            raise ValueError(f"a score's threshold {self.threshold} is not among its thresholds")
        if not all(0 <= k < len(self.classes) for k in self.scored):
            raise ValueError(f"a score's means run over {self.scored}, of which some are no class")

    @property
    def value(self) -> float:
        """The mIoU at the chosen threshold."""
        return self.miou[self.thresholds.index(self.threshold)]


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of a run; `cached` says whether its artifact was in the store already."""

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
    """The record of a run, which is an experiment that was carried out.

    `notes` says how weight files were read. `scores[id][split]` holds the scores; `maps[id][split]`
    and `labels[id][split]` hold the keys of the class maps and of the labels; `digests[split]`
    holds the digests of images and masks. `unscored` names the splits that would have scores if
    their images had masks, and `thresholds[id]` holds the threshold of class maps without any
    score; None where the maps have a background plane of their own.
    """

    name: str
    method: str
    dataset: str
    seed: int
    experiment: dict[str, object]
    digest: str
    command: str
    machine: str
    versions: dict[str, str]
    started: str
    seconds: float
    status: str = "done"
    shards: str = ""
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    network: str = ""
    stages: tuple[StageRecord, ...] = ()
    notes: tuple[str, ...] = ()
    scores: Scores = field(default_factory=dict)
    maps: dict[ResultId, dict[str, str]] = field(default_factory=dict)
    labels: dict[ResultId, dict[str, str]] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    thresholds: dict[ResultId, float | None] = field(default_factory=dict)

    @property
    def subject(self) -> ResultId:
        """The class maps that the run is about."""
        return ResultId(localizer=self.method)

    def later_results(self) -> list[ResultId]:
        """Return the scored results made from the subject: refinements, then segmenters."""
        ids = [i for i in self.scores if not i.baseline and (i.refinement or i.segmenter)]
        return sorted(ids, key=lambda i: bool(i.segmenter))

    def __post_init__(self) -> None:
        parse_time(self.started)
        for keys in (*self.maps.values(), *self.labels.values()):
            _check_names("a split", keys)
            _check_names("an artifact", keys.values())
        _check_names("an artifact", filter(None, (self.shards, self.network)))
        _check_names("a split", self.unscored)
        for id, score_by_split in self.scores.items():
            _check_names("a split", score_by_split)
            for split, score in score_by_split.items():
                if score.split != split:
                    raise ValueError(f"the score of {id} on {split} names split {score.split!r}")

    @property
    def start_time(self) -> datetime:
        """The time when the run started, in UTC."""
        return parse_time(self.started)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a sweep.

    Attributes:
        params: values of the varied fields, by their full names.
        status: `done`, `failed`, or `stopped` (by a scheduler, before the training's end).
        value: objective; for a stopped trial the objective when it was last compared.
        cached: whether all artifacts were in the store already.
        rungs: for each comparison by a scheduler, the epochs trained and the objective after them.
        stages: stages that the trial needs and the store did not hold when the sweep began, with
            the seconds of their computation, and a stage `failed` for the time that a trial lost by
            each failure; kept where the sweep has a budget or weighs costs.
    """

    id: str
    params: dict[str, object]
    status: str
    seconds: float
    value: float | None = None
    score: Score | None = None
    error: str | None = None
    cached: bool = False
    seed: int = 0
    rungs: tuple[tuple[int, float], ...] = ()
    stages: tuple[StageRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """The record of a sweep: many experiments that differ in the fields of `space`.

    `space`, `default` and the parameters of the trials name fields in full, e.g. `training.lr`;
    `labels` has their names for people. The value of a trial, and the objective `miou`, is the mIoU
    on `split` of the result that the trials score (`tuning.objectives.scored_result`), at the best
    threshold where one is chosen.

    Attributes:
        space: values of each varied field, or its distribution as in an experiment file.
        default: parameters of the untuned preset.
        best: id of the first trial of the best point by `rule`; None where there is none, and
            before the sweep has ended.
        run: name of the run of the best point, on all splits, with the first random seed.
        untuned: name of the run of the untuned preset, on all splits, with the first random seed.
        figure: name of the paper's figure that the sweep reproduces, or empty.
        objectives: names of the objectives, as in `tuning.objectives`.
        rule: rule of the best point, as `tuning.objectives.parse_rule` reads it.
        budget: new computation that the trials could take together, or empty.
    """

    name: str
    method: str
    dataset: str
    split: str
    space: dict[str, object]
    default: dict[str, object]
    trials: tuple[Trial, ...]
    best: str | None
    run: str | None
    command: str
    started: str
    seconds: float
    digest: str
    figure: str = ""
    untuned: str | None = None
    objectives: tuple[str, ...] = ("miou",)
    rule: str = "miou"
    budget: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The label of every field that the sweep names, by the field's full name."""
        params = (trial.params for trial in self.trials)
        return field_labels(itertools.chain(self.space, self.default, *params))

    def __post_init__(self) -> None:
        parse_time(self.started)
        if unknown := set(self.objectives) - set(OBJECTIVES):
            raise ValueError(f"{min(unknown)!r} is no objective; there are {', '.join(OBJECTIVES)}")

    @property
    def start_time(self) -> datetime:
        """The time when the sweep started, in UTC."""
        return parse_time(self.started)


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """The speed of one stage in a benchmark, in `unit`.

    `peer` is the speed of another implementation in the same benchmark. `bound` names what limits
    the speed on this machine, e.g. fp32 convolutions; `limit` is the speed as a share of it.
    `difference` is how far the result is from that of a CPU, of which `allowed` is the most; the
    name of the stage says which measure is meant. `memory` is the largest memory of a GPU, bytes.
    """

    stage: str
    unit: str
    ours: float
    peer: float | None = None
    limit: float | None = None
    bound: str = ""
    difference: float | None = None
    allowed: float | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class SpeedRecord:
    """The table of one `make bench`, with its time and machine."""

    name: str
    started: str
    machine: str
    rows: tuple[SpeedRow, ...]

    def __post_init__(self) -> None:
        parse_time(self.started)

    @property
    def start_time(self) -> datetime:
        """The time when the benchmark started, in UTC."""
        return parse_time(self.started)


def score_from_json(row: dict[str, object] | None) -> Score | None:
    """Return a score from its JSON form, or None from None.

    Raises:
        ValueError: the JSON value is not a score.
    """
    score: Score | None = typed(Score | None, row, "the score", nan=True)
    return score


def trial_from_json(row: object) -> Trial:
    """Return a trial from its JSON form.

    Raises:
        ValueError: the JSON value is not a trial.
    """
    trial: Trial = typed(Trial, row, "the trial", nan=True)
    return trial


def run_from_json(row: object, where: object) -> RunRecord:
    """Return a run from its JSON form.

    Args:
        row: JSON value.
        where: name of the file for the error message.

    Raises:
        InputError: the JSON value is not a run of this version.
    """
    record: RunRecord = record_from_json(row, RunRecord, where)
    return record


def sweep_from_json(row: object, where: object) -> SweepRecord:
    """Return a sweep from its JSON form; arguments and errors are as for `run_from_json`."""
    record: SweepRecord = record_from_json(row, SweepRecord, where)
    return record


def read_run(file: Readable) -> RunRecord:
    """Return the run in a file; raises InputError if there is none of this version."""
    record: RunRecord = read_record(file, RunRecord)
    return record


def read_sweep(file: Readable) -> SweepRecord:
    """Return the sweep in a file; raises InputError if there is none of this version."""
    record: SweepRecord = read_record(file, SweepRecord)
    return record


def machine() -> str:
    """Return the cores, memory and operating system of this machine, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
