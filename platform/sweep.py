"""Sweeps: Ray Tune over experiments that share every artefact they can.

A trial is the base experiment with some fields replaced. Its objective is the best mIoU over the
seed thresholds of its localizer on one split, which one pass over the class maps gives. A sweep
keeps, under `sweeps/NAME/`,

    plan.json      what it is, from its start on
    trials.jsonl   each trial when it ends, a line
    sweep.json     the whole, at its end
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from platform import node
from types import SimpleNamespace
from typing import Any

from . import places
from .errors import InputError
from .ledger import Ledger, Plan
from .pipeline import Pipeline
from .progress import Silent
from .runs import SweepRecord, Trial, ranking, read_sweep, score_from_json, write_json
from .store import Store
from .trial import REDUCTION, Sweep, short
from .trial import run as run_trial

LOST = 2
"""Further tries of a trial whose process dies; what a trial fails of itself it reports."""


def run(
    store: Store, sweep: Sweep, name: str, command: str, progress: Silent, resume: bool = False
) -> SweepRecord:
    """Runs a sweep, or reads it where it was run before.

    Args:
        store: where artefacts and the record go.
        sweep: what to vary.
        name: of the record under `sweeps/`.
        command: for the record.
        progress: who watches.
        resume: goes on with a sweep that was broken off: no trial that ended runs again.

    Raises:
        InputError: the name is taken, the sweep was broken off and should not be resumed, there
            is none to resume, it is running, or all its trials failed.
    """
    ledger = Ledger(store, name)
    key = sweep.key(Pipeline(store, sweep.trial_experiment({})))
    if places.exists(ledger.path):
        before = read_sweep(ledger.path)
        if before.digest != key:
            raise InputError(f"the name {name!r} is taken by another sweep; choose another --name")
        if not (resume and any(t.error for t in before.trials)):
            return _some(before)
    elif resume and not places.exists(ledger.plan):
        raise InputError(f"there is no sweep {name!r} to resume")
    store.check_writable(f"sweep {name!r}", f"sweeps/{name}", "tune")
    with ledger.held():
        ledger.check(key, resume)
        begun = _begun(sweep, name, command, key)
        with progress.under(ledger.folder, begun):
            return _run(store, sweep, ledger, begun, progress)


def _some(record: SweepRecord) -> SweepRecord:
    """The record of a sweep, if any trial came to an end.

    Raises:
        InputError: none did.
    """
    if record.best is None:
        errors = [t.error for t in record.trials if t.error]
        first = f"; the first: {errors[0]}" if errors else ""
        raise InputError(
            f"{len(errors)} of {len(record.trials)} trials failed and none ended; --resume tries "
            f"again{first}"
        )
    return record


def _begun(sweep: Sweep, name: str, command: str, key: str) -> SweepRecord:
    """What is known of a sweep before its first trial."""
    return SweepRecord(
        name=name,
        method=sweep.subject,
        dataset=sweep.base.data,
        split=sweep.split,
        space={short(field): list(values) for field, values in sweep.space.items()},
        default=sweep.default,
        trials=(),
        best=None,
        run=None,
        command=command,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=0.0,
        digest=key,
        figure=sweep.figure,
    )


def _run(
    store: Store, sweep: Sweep, ledger: Ledger, begun: SweepRecord, progress: Silent
) -> SweepRecord:
    total, began = sweep.count * sweep.repeats, time.monotonic()
    ledger.begin(Plan(digest=begun.digest, trials=total, command=begun.command))
    if not sweep.scheduler:  # what all share is computed once, with progress of its own
        first = sweep.trial_experiment(sweep.listed[0] if sweep.listed else {})
        with contextlib.suppress(InputError):  # the trials that need it will say so
            Pipeline(store, first, progress).execute()
    _tune(store, sweep, ledger, progress)
    trials = ledger.trials()
    if len(trials) < total:
        raise InputError(
            f"sweep {ledger.name!r} was broken off after {len(trials)} of {total} trials; --resume "
            "goes on with it"
        )
    if not any(t.error for t in trials):  # of a failure, Tune's files say more than the ledger
        places.remove_tree(store.root / "tune" / ledger.name)
    _clean(store, sweep, trials)
    ranked = ranking(trials)
    out = dataclasses.replace(
        begun,
        trials=tuple(trials),
        best=ranked[0].trials[0].id if ranked else None,
        seconds=round(time.monotonic() - began, 2),
    )
    write_json(ledger.path, out)
    return _some(out)


class Asked:
    """Hands Tune the trials that are left, each when its search knows it.

    Args:
        sweep: whose they are.
        done: the trials that need not run again.
    """

    def __init__(self, sweep: Sweep, done: Sequence[Trial]) -> None:
        self.sweep = sweep
        self.values: dict[int, float | None] = {int(t.id): t.value for t in done}
        self.best = max((t.value for t in done if t.status == "done" and t.value), default=0.0)
        total = sweep.count * sweep.repeats
        self.left = [k for k in range(total) if k not in self.values]
        self.number: dict[str, int] = {}

    def told(self) -> dict[int, float | None]:
        """The mean over seeds of each point whose trials have all ended."""
        repeats, out = self.sweep.repeats, {}
        for point in range(self.sweep.count):
            own = range(point * repeats, (point + 1) * repeats)
            if all(k in self.values for k in own):
                found = [v for k in own if (v := self.values[k]) is not None]
                out[point] = statistics.fmean(found) if found else None
        return out

    def suggest(self, trial: str) -> dict[str, Any] | None:
        """The config of Tune's next trial; None while the search waits."""
        number = self.left[0]
        point, seed = divmod(number, self.sweep.repeats)
        params = self.sweep.search.ask(point, self.told())
        if params is None:
            return None
        self.left.pop(0)
        self.number[trial] = number
        return {"number": number, "point": params, "seed": self.sweep.seeds[seed]}


def _tune(store: Store, sweep: Sweep, ledger: Ledger, progress: Silent) -> None:
    import ray.tune

    from .stages import cluster

    cluster.connect()
    fields, before = {short(field): field for field in sweep.space}, ledger.trials()
    for t in before:
        point = {fields[name]: value for name, value in t.params.items()}
        sweep.search.recall(int(t.id) // sweep.repeats, point)
    done = [t for t in before if not t.error]
    asked = Asked(sweep, done)
    watch = _watch(ledger, asked, progress)

    lanes = store.root / "tune" / ledger.name / "lanes"
    shutil.rmtree(lanes, ignore_errors=True)
    lanes.mkdir(parents=True)
    wide = 0 if sweep.scheduler else min(sweep.concurrent, len(asked.left), cluster.drivers())

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        together(lanes, wide)
        return run_trial(store, sweep, config["point"], config["seed"], ray.tune.report)

    progress.plan([f"{sweep.count * sweep.repeats} trials", "the best point on all splits"])
    progress.start(f"{sweep.count * sweep.repeats} trials")
    if asked.left:
        ray.tune.Tuner(
            ray.tune.with_resources(trial, cluster.driving()),
            tune_config=ray.tune.TuneConfig(
                search_alg=_searcher(asked),
                scheduler=_scheduler(sweep, done),
                num_samples=len(asked.left),
                max_concurrent_trials=sweep.concurrent,
                reuse_actors=not sweep.scheduler,
            ),
            run_config=ray.tune.RunConfig(
                name=ledger.name,
                **places.storage(store.root / "tune"),
                verbose=0,
                callbacks=[watch],
                failure_config=ray.tune.FailureConfig(max_failures=max(sweep.retries, LOST)),
            ),
        ).fit()
    progress.finish(False)


def together(lanes: Path, count: int, patience: float = 30.0) -> None:
    """Waits, in the process of a trial, until as many such processes have started.

    Tune gives a waiting trial to the first process that is free, and ends the one that it was
    starting for it; where trials are shorter than a start there would never be two.

    Args:
        lanes: a folder; each process leaves a file there.
        count: of the processes.
        patience: seconds after which it goes on alone.
    """
    own, end = lanes / f"{node()}-{os.getpid()}", time.monotonic() + patience
    if own.exists():
        return
    lanes.mkdir(parents=True, exist_ok=True)  # another node, which does not see the others' lanes
    own.touch()
    while len(os.listdir(lanes)) < count and time.monotonic() < end:
        time.sleep(0.05)


def _searcher(asked: Asked) -> Any:
    from ray.tune.search import Searcher

    class Search(Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> Any:
            return asked.suggest(trial_id) if asked.left else Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """The callback keeps what came out."""

        def save(self, checkpoint_path: str) -> None:
            """The record under `sweeps/` is what a sweep resumes from."""

        def restore(self, checkpoint_path: str) -> None:
            """See `save`."""

    return Search()


def _watch(ledger: Ledger, asked: Asked, progress: Silent) -> Any:
    import ray.tune

    total = asked.sweep.count * asked.sweep.repeats
    rungs: dict[str, list[tuple[int, float]]] = {}

    class Watch(ray.tune.Callback):  # type: ignore[misc]
        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
        ) -> None:
            if "epoch" in result:
                own = rungs.setdefault(trial.trial_id, [])
                own.append((result["epoch"], result["value"]))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            number = asked.number[trial.trial_id]
            ended = _trial(number, trial, tuple(rungs.get(trial.trial_id, ())))
            ledger.add(ended)
            asked.values[number] = ended.value
            if ended.status == "done":
                asked.best = max(asked.best, ended.value or 0.0)
            progress.update(_state(asked, trials, ended), len(asked.values), total)

        on_trial_error = on_trial_complete

    return Watch()


def _state(asked: Asked, trials: Sequence[Any], ended: Trial) -> str:
    """How the sweep stands, in words."""
    running = sum(t.status == "RUNNING" for t in trials)
    parts = [f"{running} running"] if running else []
    if failed := sum(value is None for value in asked.values.values()):
        parts.append(f"{failed} failed ({ended.error})" if ended.error else f"{failed} failed")
    return ", ".join([*parts, *([f"best {100 * asked.best:.1f} %"] if asked.best else [])])


def _trial(number: int, trial: Any, rungs: tuple[tuple[int, float], ...]) -> Trial:
    """A trial from what it reported to Tune last, or from how its actor died."""
    config, metrics = trial.config, trial.last_result or {}
    lost = str(trial.get_error()).strip().splitlines()[-1] if trial.status == "ERROR" else None
    error = lost or metrics.get("error")
    stopped = "epoch" in metrics
    return Trial(
        id=f"{number:04d}",
        params={short(k): v for k, v in config["point"].items()},
        status="failed" if error else "stopped" if stopped else "done",
        seconds=metrics.get("seconds", 0.0),
        value=None if error else metrics.get("value"),
        score=None if error else score_from_json(metrics.get("score")),
        error=error,
        cached=metrics.get("cached", False),
        seed=config["seed"],
        rungs=rungs,
    )


def _scheduler(sweep: Sweep, done: Sequence[Trial]) -> Any:
    """ASHA with the rungs of the sweep, which knows the trials that have ended; none: None."""
    if not sweep.scheduler:
        return None
    from ray.tune.schedulers import ASHAScheduler

    out = ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=sweep.base.training.epochs,
        grace_period=sweep.rungs[0] if sweep.rungs else sweep.base.training.epochs,
        reduction_factor=REDUCTION,
    )
    for trial in done:
        stub = SimpleNamespace(trial_id=f"before-{trial.id}")
        out.on_trial_add(None, stub)
        for epochs, value in trial.rungs:
            out.on_trial_result(None, stub, {"epoch": epochs, "value": value})
    return out


def _clean(store: Store, sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Removes the checkpoints of trainings that were stopped."""
    from .stages import checkpoints

    fields = {short(field): field for field in sweep.space}
    for trial in trials:
        if trial.status != "stopped":
            continue
        point = {fields[name]: value for name, value in trial.params.items()}
        pipeline = Pipeline(store, sweep.trial_experiment(point, trial.seed))
        assert pipeline.network is not None
        home = pipeline.context.home(pipeline.network)
        with store.lock(pipeline.network.key):
            checkpoints.forget(home)
