"""The runner of sweeps: Ray Tune over experiments that share every artifact they can.

A trial is the base experiment with some fields replaced. Its objective is the best mIoU over the
seed thresholds of its localizer on one split, which one pass over the class maps gives. A sweep
keeps, under `sweeps/NAME/`,

    experiment.yaml   its experiment file, from its start on
    plan.json         its key and the number of its trials, from its start on
    trials.jsonl      one line for each trial, added when the trial ends
    sweep.json        the record of the whole sweep, written at its end
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from typing import Protocol

from ..errors import InputError
from ..method import registry
from ..pipeline.context import Catalog, Runtime
from ..pipeline.execution import Execution
from ..pipeline.planner import plan
from ..ray_runtime import cluster
from ..ray_runtime.quirks.trials import replay_rungs, wait_for_processes
from ..records.field_labels import field_labels, short_text
from ..records.progress import ProgressDisplay
from ..records.schema import SweepRecord, Trial, read_sweep, score_from_json
from ..storage.json_files import write_json
from .journal import Journal, SweepPlan
from .objectives import parse_rule, ranking_by
from .spaces import recorded
from .sweep import REDUCTION, Sweep, searcher
from .sweep_file import sweep_file
from .trial import TrialReport, planned_base
from .trial import run as run_trial
from .trial_queue import TrialConfig, TrialQueue

LOST_TRIAL_RETRIES = 2
"""Least number of further tries of a trial whose process dies; other errors do not reach Tune."""


def run(
    catalog: Catalog,
    sweep: Sweep,
    name: str,
    command: str,
    progress: ProgressDisplay,
    resume: bool = False,
    file: str = "",
) -> SweepRecord:
    """Run a sweep, or read its record where it was run before.

    Args:
        catalog: data sets and imports of the store that takes artifacts and the record.
        sweep: the description of the sweep.
        name: name of the record under `sweeps/`.
        command: the command line, for the record.
        progress: display that shows each trial that ends.
        resume: whether to go on with a sweep that was broken off; of the trials in the journal,
            only failed ones run again.
        file: text of the experiment file for the record; by default, that of `sweep_file`.

    Raises:
        InputError: the name is taken, the sweep was broken off and `resume` is False, there is no
            sweep to resume, the sweep is running, or all its trials failed.
    """
    journal = Journal(catalog.store, name)
    key = sweep.key(planned_base(catalog, sweep))
    if journal.path.exists():
        record = read_sweep(journal.path)
        if record.digest != key:
            raise InputError(f"the name {name!r} is taken by another sweep; choose another --name")
        if not (resume and any(t.error for t in record.trials)):
            return _by_rule(journal, record, sweep)
    elif resume and not journal.plan.exists():
        raise InputError(f"there is no sweep {name!r} to resume")
    catalog.store.check_writable(f"sweep {name!r}", f"sweeps/{name}", "tune")
    with journal.lock():
        journal.check(key, resume)
        begun = _first_record(sweep, name, command, key)
        with progress.track(journal.folder, begun):
            journal.write_experiment_file(file or sweep_file(sweep))
            return _run(catalog, sweep, journal, begun, progress)


def _checked_record(record: SweepRecord) -> SweepRecord:
    """Return the record of a sweep after checking that it has a best trial.

    Raises:
        InputError: no trial has the status `done`, or none keeps the rule of the best point.
    """
    if record.best is None and any(t.status == "done" for t in record.trials):
        raise InputError(f"no trial keeps the rule {record.rule!r}; choose another --best")
    if record.best is None:
        errors = [t.error for t in record.trials if t.error]
        first = f"; the first: {errors[0]}" if errors else ""
        raise InputError(
            f"{len(errors)} of {len(record.trials)} trials failed and none finished; --resume "
            f"tries again{first}"
        )
    return record


def _by_rule(journal: Journal, record: SweepRecord, sweep: Sweep) -> SweepRecord:
    """Return the record of a finished sweep by a sweep's rule of the best point and objectives.

    The record is written if they are new; its trials and its key are those of both sweeps.
    """
    if (record.rule, record.objectives) == (sweep.best, sweep.objectives):
        return _checked_record(record)
    record = dataclasses.replace(record, objectives=sweep.objectives)
    if record.rule != sweep.best:
        ranked = ranking_by(record.trials, parse_rule(sweep.best))
        best = ranked[0].trials[0].id if ranked else None
        record = dataclasses.replace(record, rule=sweep.best, best=best, run=None)
    record = _checked_record(record)
    write_json(journal.path, record)
    return record


def _first_record(sweep: Sweep, name: str, command: str, key: str) -> SweepRecord:
    """Return the record of a sweep before its first trial."""
    return SweepRecord(
        name=name,
        method=sweep.subject,
        dataset=sweep.base.data,
        split=sweep.split,
        space=recorded(sweep.space),
        default=sweep.default,
        trials=(),
        best=None,
        run=None,
        command=command,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=0.0,
        digest=key,
        figure=sweep.figure,
        objectives=sweep.objectives,
        rule=sweep.best,
    )


def _run(
    catalog: Catalog, sweep: Sweep, journal: Journal, begun: SweepRecord, progress: ProgressDisplay
) -> SweepRecord:
    total, began = sweep.count * sweep.repeats, time.monotonic()
    journal.begin(SweepPlan(digest=begun.digest, trials=total, command=begun.command))
    if not sweep.scheduler:  # compute shared artifacts before the trials, to show each stage
        first = sweep.trial_experiment(sweep.listed_points[0] if sweep.listed_points else {})
        with contextlib.suppress(InputError):  # the trials report the same error
            Execution(catalog.store, plan(first, catalog), progress).execute()
    _tune(catalog, sweep, journal, progress)
    trials = journal.trials()
    if len(trials) < total:
        raise InputError(
            f"sweep {journal.name!r} was broken off after {len(trials)} of {total} trials; "
            "--resume goes on with it"
        )
    if not any(t.error for t in trials):  # Tune's files say more on a failure than the journal
        catalog.store.location("tune", journal.name).remove_tree()
    _clean(catalog, sweep, trials)
    ranked = ranking_by(trials, parse_rule(sweep.best))
    out = dataclasses.replace(
        begun,
        trials=tuple(trials),
        best=ranked[0].trials[0].id if ranked else None,
        seconds=round(time.monotonic() - began, 2),
    )
    write_json(journal.path, out)
    return _checked_record(out)


class TuneTrial(Protocol):
    """The part of Ray Tune's `Trial` that the runner reads."""

    trial_id: str
    status: str
    config: TrialConfig
    last_result: TrialReport | None

    def get_error(self) -> Exception | None: ...


def _tune(catalog: Catalog, sweep: Sweep, journal: Journal, progress: ProgressDisplay) -> None:
    import ray.tune

    cluster.connect()
    points, before = searcher(sweep), journal.trials()
    for ended in before:
        points.recall(int(ended.id) // sweep.repeats, ended.params)
    done = [ended for ended in before if not ended.error]
    queue = TrialQueue(sweep, points, done)
    watch = _watch(journal, queue, progress)
    registered = registry.registered()
    lanes = catalog.store.storage.local_folder / "tune" / journal.name / "lanes"
    shutil.rmtree(lanes, ignore_errors=True)
    lanes.mkdir(parents=True)
    most_processes = min(sweep.concurrent, len(queue.left), cluster.trial_slots())
    processes = 0 if sweep.scheduler else most_processes

    def trial(config: TrialConfig) -> TrialReport:
        registry.restore(registered)
        wait_for_processes(lanes, processes)
        return run_trial(catalog, sweep, config["point"], config["seed"], ray.tune.report)

    progress.plan([f"{sweep.count * sweep.repeats} trials", "the best point on all splits"])
    progress.start(f"{sweep.count * sweep.repeats} trials")
    if queue.left:
        ray.tune.Tuner(
            ray.tune.with_resources(trial, cluster.trial_resources()),
            tune_config=ray.tune.TuneConfig(
                search_alg=_tune_searcher(queue),
                scheduler=_scheduler(sweep, done),
                num_samples=len(queue.left),
                max_concurrent_trials=sweep.concurrent,
                reuse_actors=not sweep.scheduler,
            ),
            run_config=ray.tune.RunConfig(
                name=journal.name,
                **catalog.store.location("tune").for_ray(),
                verbose=0,
                callbacks=[watch],
                failure_config=ray.tune.FailureConfig(
                    max_failures=max(sweep.retries, LOST_TRIAL_RETRIES)
                ),
            ),
        ).fit()
    progress.finish(False)


def _tune_searcher(queue: TrialQueue) -> object:
    from ray.tune.search import Searcher

    class Search(Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> object:
            return queue.suggest(trial_id) if queue.left else Searcher.FINISHED

        def on_trial_complete(
            self, trial_id: str, result: object = None, error: bool = False
        ) -> None:
            """Do nothing: the callback keeps the result."""

        def save(self, checkpoint_path: str) -> None:
            """Do nothing: a sweep resumes from its record under `sweeps/`."""

        def restore(self, checkpoint_path: str) -> None:
            """Do nothing: a sweep resumes from its record under `sweeps/`."""

    return Search()


def _watch(journal: Journal, queue: TrialQueue, progress: ProgressDisplay) -> object:
    import ray.tune

    total = queue.sweep.count * queue.sweep.repeats
    rungs: dict[str, list[tuple[int, float]]] = {}
    running: dict[str, str] = {}

    class Watch(ray.tune.Callback):  # type: ignore[misc]
        def on_trial_start(
            self, iteration: int, trials: object, trial: TuneTrial, **info: object
        ) -> None:
            running[trial.trial_id] = _title(trial.config)
            progress.running([*running.values()])

        def on_trial_result(
            self,
            iteration: int,
            trials: Sequence[TuneTrial],
            trial: TuneTrial,
            result: TrialReport,
            **info: object,
        ) -> None:
            if "epoch" in result and result["value"] is not None:
                reached = rungs.setdefault(trial.trial_id, [])
                reached.append((result["epoch"], result["value"]))

        def on_trial_complete(
            self, iteration: int, trials: Sequence[TuneTrial], trial: TuneTrial, **info: object
        ) -> None:
            number = queue.number[trial.trial_id]
            running.pop(trial.trial_id, None)
            progress.running([*running.values()])
            ended = _trial(number, trial, tuple(rungs.get(trial.trial_id, ())))
            journal.add(ended)
            progress.trial(ended)
            queue.end(number, ended)
            progress.update(_state(queue, trials, ended), len(queue.ended), total)

        on_trial_error = on_trial_complete

    return Watch()


def _title(config: TrialConfig) -> str:
    """Return the title of a trial: its number, its values and its random seed."""
    labels = field_labels(config["point"])
    values = ", ".join(
        f"{labels[field]} {short_text(value)}" for field, value in config["point"].items()
    )
    return f"trial {config['number']:04d}: {values}, seed {config['seed']}"


def _state(queue: TrialQueue, trials: Sequence[TuneTrial], ended: Trial) -> str:
    """Return the state of a sweep in words: running and failed trials, and the best objective."""
    running = sum(t.status == "RUNNING" for t in trials)
    words = [f"{running} running"] if running else []
    if failed := sum(t.value is None for t in queue.ended.values()):
        words.append(f"{failed} failed ({ended.error})" if ended.error else f"{failed} failed")
    return ", ".join([*words, *([f"best {100 * queue.best:.1f} %"] if queue.best else [])])


def _trial(number: int, trial: TuneTrial, rungs: tuple[tuple[int, float], ...]) -> Trial:
    """Return a trial from its last report to Tune, or from the error that ended its actor."""
    config, metrics = trial.config, trial.last_result or {}
    lost = str(trial.get_error()).strip().splitlines()[-1] if trial.status == "ERROR" else None
    error = lost or metrics.get("error")
    stopped = "epoch" in metrics
    return Trial(
        id=f"{number:04d}",
        params=dict(config["point"]),
        status="failed" if error else "stopped" if stopped else "done",
        seconds=metrics.get("seconds", 0.0),
        value=None if error else metrics.get("value"),
        score=None if error else score_from_json(metrics.get("score")),
        error=error,
        cached=metrics.get("cached", False),
        seed=config["seed"],
        rungs=rungs,
    )


def _scheduler(sweep: Sweep, done: Sequence[Trial]) -> object:
    """Return the scheduler of a sweep, or None for a sweep without one.

    ASHA also gets the rungs of the trials that ended before the sweep was interrupted.
    """
    if not sweep.scheduler:
        return None
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=sweep.base.training.epochs,
        grace_period=sweep.rungs[0] if sweep.rungs else sweep.base.training.epochs,
        reduction_factor=REDUCTION,
    )
    replay_rungs(scheduler, {trial.id: trial.rungs for trial in done})
    return scheduler


def _clean(catalog: Catalog, sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Remove the checkpoints of the trainings that the scheduler stopped."""
    from ..stages.training import checkpoints

    for trial in trials:
        if trial.status != "stopped":
            continue
        planned = plan(sweep.trial_experiment(trial.params, trial.seed), catalog)
        assert planned.network is not None
        with catalog.store.lock(planned.network.key):
            checkpoints.forget(Runtime(catalog.store).home(planned.network))
