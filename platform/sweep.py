"""Sweeps: Ray Tune over experiments that share every artefact they can.

A trial is the base experiment with some fields replaced. Its objective is the best mIoU over the
seed thresholds of its localizer on one split, which one pass over the class maps gives.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError
from .experiment import Experiment
from .options import replaced, walk
from .pipeline import Pipeline
from .progress import Silent
from .runs import (
    SweepRecord,
    Trial,
    as_json,
    ranking,
    read_sweep,
    score_from_json,
    write_json,
)
from .spaces import Space
from .store import Store, digest

MOST_TRIALS = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to sweep.

    Attributes:
        base: the untuned experiment.
        space: values to try by dotted field.
        trials: how many points; 0: the whole grid. Fewer than the grid are drawn at random.
        split: the objective's.
        concurrent: trials side by side.
        repeats: seeds of each point, from the base's on.
    """

    base: Experiment
    space: Space
    trials: int = 0
    split: str = "train"
    concurrent: int = 2
    repeats: int = 1

    def __post_init__(self) -> None:
        least = {"trials": 0, "concurrent": 1, "repeats": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.size > sys.maxsize:
            raise InputError(f"the space has {self.size} points; leave fields out")
        if self.count * self.repeats > MOST_TRIALS:
            raise InputError(
                f"the sweep has {self.count * self.repeats} trials, over {MOST_TRIALS}; draw fewer "
                f"with --trials"
            )
        if len({_short(field) for field in self.space}) < len(self.space):
            raise InputError(f"a space has two fields of one name: {', '.join(self.space)}")
        for field, values in self.space.items():
            for value in values:
                replaced(self.base, {field: value})

    @property
    def size(self) -> int:
        """Points of the grid."""
        return math.prod(len(values) for values in self.space.values())

    @property
    def count(self) -> int:
        """Points that will be tried."""
        return min(self.trials, self.size) if self.trials else self.size

    @property
    def seeds(self) -> range:
        """Of the trials of each point."""
        return range(self.base.seed, self.base.seed + self.repeats)

    def key(self, base: Pipeline) -> str:
        """What the sweep's results depend on; `base` is the base trial's pipeline."""
        repeats = [self.repeats] if self.repeats > 1 else []
        return digest([base.digest, self.space, self.count, self.split, *repeats])

    def seeded(self, seed: int) -> Experiment:
        """The base with another seed, its host too."""
        host = self.base.host and dataclasses.replace(self.base.host, seed=seed)
        return dataclasses.replace(self.base, seed=seed, host=host)

    def trial_experiment(self, params: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """The experiment of one point, scored on the objective's split only, and no further
        than the fields of the space reach; without a seed the base's."""
        base = self.base if seed is None else self.seeded(seed)
        scoring = dataclasses.replace(base.scoring, splits=(self.split,))
        out = dataclasses.replace(base, scoring=scoring)
        segments = any(field.startswith("segment.") for field in self.space)
        if segments:
            out = replaced(out, {"segment.splits": (self.split,)})
        else:
            out = replaced(out, {"segment.network": ""})
        if not segments and not any(field.startswith("refine.") for field in self.space):
            out = replaced(out, {"refine.kind": ""})
        return replaced(out, params)

    def points(self) -> list[dict[str, Any]]:
        """The points to try: the grid, or as many different ones of it as there are trials."""
        import random

        chosen: Sequence[int] = range(self.size)
        if self.count < self.size:
            chosen = sorted(random.Random(self.base.seed).sample(chosen, self.count))
        return [self._point(number) for number in chosen]

    def _point(self, number: int) -> dict[str, Any]:
        """A point of the grid, in which the last field changes fastest."""
        point: dict[str, Any] = {}
        for field, values in reversed(list(self.space.items())):
            number, k = divmod(number, len(values))
            point[field] = values[k]
        return {field: point[field] for field in self.space}


def cost(store: Store, sweep: Sweep) -> tuple[Counter[str], Counter[str]]:
    """How many different artefacts the trials need, by stage: those to compute, those there."""
    missing: dict[str, str] = {}
    there: dict[str, str] = {}
    for point, seed in itertools.product(sweep.points(), sweep.seeds):
        pipeline = Pipeline(store, sweep.trial_experiment(point, seed))
        lacking = {stage.key for stage in pipeline.missing()}
        for step in pipeline.steps:
            where = missing if step.stage.key in lacking else there
            where[step.stage.key] = step.stage.name
    return Counter(missing.values()), Counter(there.values())


def run_trial(config: dict[str, Any]) -> dict[str, Any]:
    """One trial, in a Tune actor: gets the artefacts that are missing and reads the score.

    A failure is a result like any other, so that one trial does not take the sweep along.
    """
    started = time.monotonic()
    sweep, store = config["sweep"], config["store"]
    out: dict[str, Any] = {"value": None, "score": None, "error": None, "cached": False}
    try:
        pipeline = Pipeline(store, sweep.trial_experiment(*config["point"]))
        out["cached"] = not pipeline.missing()
        pipeline.execute()
        score = list(pipeline.read_scores().values())[-1][sweep.split]
        plain = as_json(dataclasses.replace(score, confusion=None))
        out |= {"value": score.value, "score": plain}
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        out["error"] = f"{type(cause).__name__}: {cause}".strip().splitlines()[-1]
    return {**out, "seconds": round(time.monotonic() - started, 3)}


def run(store: Store, sweep: Sweep, name: str, command: str, progress: Silent) -> SweepRecord:
    """Runs a sweep, or reads it where it was run before.

    Args:
        store: where artefacts and the record go.
        sweep: what to vary.
        name: of the record under `sweeps/`.
        command: for the record.
        progress: who watches.

    Raises:
        InputError: the name is taken by another sweep, or all trials failed.
    """
    path = store.root / "sweeps" / name / "sweep.json"
    started, began = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
    base = Pipeline(store, sweep.trial_experiment({}), progress)
    key = sweep.key(base)
    if path.exists():
        before = read_sweep(path)
        if before.digest != key:
            raise InputError(f"the name {name!r} is taken by another sweep; choose another --name")
        if not base.missing():
            return before
    base.execute()
    trials = _trials(store, sweep, name, progress)
    ranked = ranking(trials)
    record = SweepRecord(
        name=name,
        method=base.localizer.name,
        dataset=sweep.base.data,
        split=sweep.split,
        space={_short(k): list(v) for k, v in sweep.space.items()},
        default={_short(k): value for k, value, _ in walk(sweep.base) if k in sweep.space},
        trials=tuple(trials),
        best=ranked[0].trials[0].id if ranked else None,
        run=None,
        command=command,
        started=started,
        seconds=round(time.monotonic() - began, 2),
        digest=key,
    )
    write_json(path, record)
    if not ranked:
        raise InputError(f"all {len(trials)} trials failed; the first: {trials[0].error}")
    return record


def best_experiment(sweep: Sweep, record: SweepRecord, seed: int) -> Experiment:
    """The base experiment with the parameters of the best point."""
    best = next(t for t in record.trials if t.id == record.best)
    return replaced(
        sweep.seeded(seed), {field: best.params[_short(field)] for field in sweep.space}
    )


def _short(field: str) -> str:
    """The name of a field without its group, as papers print it."""
    return field.rpartition(".")[2]


def _trials(store: Store, sweep: Sweep, name: str, progress: Silent) -> list[Trial]:
    import ray.tune

    from .stages import cluster

    cluster.connect()
    points = list(itertools.product(sweep.points(), sweep.seeds))
    progress.plan([f"{len(points)} trials", "the best point on all splits"])
    progress.start(f"{len(points)} trials")

    class Watch(ray.tune.Callback):  # type: ignore[misc]
        ended = 0

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.ended += 1
            progress.update("trial", self.ended, len(points))

        on_trial_error = on_trial_complete

    tuner = ray.tune.Tuner(
        ray.tune.with_resources(run_trial, cluster.driving()),
        param_space={
            "point": ray.tune.grid_search(points),
            "sweep": sweep,
            "store": store,
        },
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=sweep.concurrent, reuse_actors=True),
        run_config=ray.tune.RunConfig(
            name=name, storage_path=str(store.root / "tune"), verbose=0, callbacks=[Watch()]
        ),
    )
    results = tuner.fit()
    progress.finish(False)
    return [
        _trial(f"{number:04d}", point, seed, result.metrics or {}, result.error)
        for number, result in enumerate(results)
        for point, seed in [result.config["point"]]
    ]


def _trial(
    id: str, point: Mapping[str, Any], seed: int, metrics: Mapping[str, Any], lost: Any
) -> Trial:
    """A trial from what it returned; `lost` where its actor died."""
    error = str(lost).strip().splitlines()[-1] if lost else metrics["error"]
    return Trial(
        id=id,
        params={_short(k): v for k, v in point.items()},
        status="failed" if error else "done",
        seconds=metrics.get("seconds", 0.0),
        value=metrics.get("value"),
        score=score_from_json(metrics.get("score")),
        error=error,
        cached=metrics.get("cached", False),
        seed=seed,
    )
