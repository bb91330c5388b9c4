"""The runner of sweeps: Ray Tune over experiments that share every artifact they can.

A trial is the base experiment with some fields replaced. Its objective is the best mIoU over the
seed thresholds of its localizer on one split, which one pass over the class maps gives. A sweep
keeps, under `sweeps/NAME/`,

    experiment.yaml   its experiment file, from its start on
    plan.json         its key and the number of its trials, from its start on
    trials.jsonl      one line for each trial, added when the trial ends
    sweep.json        the record of the whole sweep, written at its end
    best.yaml         the experiment of its best point, once the record names the point's run
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..method import registry
from ..pipeline.context import Catalog, Runtime
from ..pipeline.execution import Execution
from ..pipeline.planner import plan
from ..ray_runtime import cluster
from ..ray_runtime.quirks.trials import wait_for_processes
from ..records.progress import ProgressDisplay
from ..records.schema import SweepRecord, Trial, read_sweep
from ..storage.json_files import write_json
from .costs.needed_stages import NeededStages, marginal_costs, wait_for_next_second
from .costs.stage_counts import kept_bytes, unneeded_stages
from .journal import Journal, SweepPlan
from .objectives import parse_rule, ranking_by
from .ranking import trials_by_point
from .runner.population import Population, report_member
from .runner.schedulers import make_scheduler
from .runner.trial_queue import TrialConfig, TrialQueue
from .runner.tune_callbacks import tune_searcher, watch
from .spaces import Params, recorded
from .sweep import Sweep, searcher
from .sweep_file import sweep_file
from .trial import TrialReport, planned_base
from .trial import run as run_trial

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
            return _by_rule(journal, record, sweep, file or sweep_file(sweep))
    elif resume and not journal.plan.exists():
        raise InputError(f"there is no sweep {name!r} to resume")
    catalog.store.check_writable(f"sweep {name!r}", f"sweeps/{name}", "tune")
    with journal.lock():
        journal.check(key, resume)
        begun = _begin(journal, sweep, command, key)
        with progress.track(journal.folder, begun):
            journal.write_experiment_file(file or sweep_file(sweep))
            return _run(catalog, sweep, journal, begun, progress)


def _checked_record(record: SweepRecord) -> SweepRecord:
    """Return the record of a sweep after checking that it has a best trial.

    Raises:
        InputError: no trial has the status `done`, each point has a stopped training, or no point
            can be the best one by the rule.
    """
    finished = any(t.status == "done" for t in record.trials)
    if record.best is None and finished and not trials_by_point(record.trials):
        raise InputError(
            "every point that finished has a stopped training, too, so none can be the best; leave "
            "out --scheduler, or choose fewer --repeats"
        )
    if record.best is None and finished:
        rule = parse_rule(record.rule)
        fault = (
            f"keeps the rule {record.rule!r}"
            if rule.conditions
            else f"has a finite {rule.objective}"
        )
        raise InputError(f"no trial {fault}; choose another --best")
    if record.best is None:
        errors = [t.error for t in record.trials if t.error]
        first = f"; the first: {errors[0]}" if errors else ""
        raise InputError(
            f"{len(errors)} of {len(record.trials)} trials failed and none finished; --resume "
            f"tries again{first}"
        )
    return record


def _by_rule(journal: Journal, record: SweepRecord, sweep: Sweep, file: str) -> SweepRecord:
    """Return the record of a finished sweep by a sweep's rule of the best point and objectives.

    The record is written if they are new, with the experiment file; its trials and its key are
    those of both sweeps. By a new rule it names no run, and the file of the best point by the
    earlier rule is removed.
    """
    if (record.rule, record.objectives) == (sweep.best, sweep.objectives):
        return _checked_record(record)
    with journal.lock():
        earlier = read_sweep(journal.path)  # another command may have named its runs meanwhile
        record = _with_rule(earlier, sweep)
        if record.rule != earlier.rule:
            journal.best.remove()
        journal.write_experiment_file(file)
        write_json(journal.path, record)
    return record


def _with_rule(record: SweepRecord, sweep: Sweep) -> SweepRecord:
    """Return the record of a finished sweep with a sweep's rule and objectives.

    Raises:
        InputError: no trial can be the best one by the rule.
    """
    record = dataclasses.replace(record, objectives=sweep.objectives)
    if record.rule != sweep.best:
        ranked = ranking_by(record.trials, parse_rule(sweep.best))
        best = ranked[0].trials[0].id if ranked else None
        record = dataclasses.replace(record, rule=sweep.best, best=best, run=None)
    return _checked_record(record)


def _begin(journal: Journal, sweep: Sweep, command: str, key: str) -> SweepRecord:
    """Begin the journal of a sweep, or go on with it, and return the record without trials."""
    begun = journal.begin(
        SweepPlan(
            digest=key,
            trials=sweep.count * sweep.repeats,
            command=command,
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
    )
    return SweepRecord(
        name=journal.name,
        method=sweep.subject,
        dataset=sweep.base.data,
        split=sweep.split,
        space=recorded(sweep.space),
        default=sweep.default,
        trials=(),
        best=None,
        run=None,
        command=command,
        started=begun.started,
        seconds=0.0,
        digest=begun.digest,
        figure=sweep.figure,
        objectives=sweep.objectives,
        rule=sweep.best,
        budget=sweep.budget,
    )


def _run(
    catalog: Catalog, sweep: Sweep, journal: Journal, begun: SweepRecord, progress: ProgressDisplay
) -> SweepRecord:
    if sweep.counts_costs:
        wait_for_next_second(begun.started)
    needed = NeededStages(catalog, sweep, begun.started) if sweep.counts_costs else None
    points = searcher(sweep, marginal_costs(needed) if needed else None)
    if not sweep.scheduler:
        with contextlib.suppress(InputError):  # the trials report the same error
            _compute_shared(catalog, sweep, points.suggest(0, {}) or {}, progress)
    queue, population = _tune(catalog, sweep, journal, progress, needed)
    queue.check_ended(journal.name)
    trials = journal.trials()
    if not any(t.error for t in trials):  # Tune's files say more on a failure than the journal
        catalog.store.location("tune", journal.name).remove_tree()
    _clean(catalog, sweep, trials)
    if population:
        population.clean(catalog)
    ranked = ranking_by(trials, parse_rule(sweep.best))
    out = dataclasses.replace(
        begun,
        trials=tuple(trials),
        best=ranked[0].trials[0].id if ranked else None,
        seconds=journal.note_seconds(),
    )
    journal.best.remove()  # of the trials before failed ones ran again
    write_json(journal.path, out)
    return _checked_record(out)


def _compute_shared(
    catalog: Catalog, sweep: Sweep, point: Params, progress: ProgressDisplay
) -> None:
    """Compute the stages that the first trial shares with the untuned one, and show each stage.

    Class maps that a trial does without, and their scores, are left to the trial.
    """
    untuned = plan(sweep.trial_experiment({}), catalog)
    first = {stage.key for stage in plan(sweep.trial_experiment(point), catalog).stages}
    unneeded = {stage.key for stage in unneeded_stages(untuned, sweep.split)}
    without = [
        stage
        for stage in untuned.stages
        if stage.key not in first or unneeded & {stage.key, *stage.inputs.values()}
    ]
    Execution(catalog.store, untuned, progress).execute(without=without)


def _queue(sweep: Sweep, before: Sequence[Trial], needed: NeededStages | None) -> TrialQueue:
    """Return the queue of the trials of a sweep after those in its journal.

    All trials of a population run again, and find in the store what they computed before.
    """
    before = () if sweep.is_population else before
    costs = marginal_costs(needed) if needed else None
    points = searcher(sweep, costs)
    for ended in before:
        points.recall(int(ended.id) // sweep.repeats, ended.params)
    return TrialQueue(sweep, points, before, costs)


def _lanes(catalog: Catalog, name: str) -> Path:
    """Return the new folder in which each process of a trial leaves a file."""
    lanes = catalog.store.storage.local_folder / "tune" / name / "lanes"
    shutil.rmtree(lanes, ignore_errors=True)
    lanes.mkdir(parents=True)
    return lanes


def _tune(
    catalog: Catalog,
    sweep: Sweep,
    journal: Journal,
    progress: ProgressDisplay,
    needed: NeededStages | None,
) -> tuple[TrialQueue, Population | None]:
    """Run the trials of a sweep that are left.

    Returns:
        The queue, with the trials that ended, and the sweep's population if it has one.

    Raises:
        Exception: what kept a trial from being recorded, or the next trial from being chosen.
    """
    import ray.tune

    cluster.connect()
    queue = _queue(sweep, journal.trials(), needed)
    kept = kept_bytes(catalog, sweep)
    at_once = _most_at_once(sweep)
    trial = _trial_function(catalog, sweep, journal, min(at_once, len(queue.left)), kept)
    progress.plan([queue.title, "the best point on all splits"])
    progress.start(queue.title)
    failures = ray.tune.FailureConfig(max_failures=max(sweep.retries, LOST_TRIAL_RETRIES))
    population = Population(sweep, queue) if sweep.is_population else None  # takes all trials
    if queue.left or population:
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(trial, cluster.trial_resources(kept)),
            param_space=population.param_space() if population else None,
            tune_config=_tune_config(sweep, queue, population, at_once),
            run_config=ray.tune.RunConfig(
                name=journal.name,
                **catalog.store.location("tune").for_ray(),
                verbose=0,
                callbacks=[watch(journal, queue, progress, needed)],
                failure_config=failures,
            ),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consider boosting PBT")  # trials take no new options
            tuner.fit()
        queue.check_intact()
    progress.finish(False)
    return queue, population


def _most_at_once(sweep: Sweep) -> int:
    """Return how many trials run at a time, so that their trainings leave a CPU to load rows."""
    slots = cluster.training_slots(sweep.most_workers)
    return sweep.concurrent if slots is None else min(sweep.concurrent, slots)


def _trial_function(
    catalog: Catalog, sweep: Sweep, journal: Journal, at_once: int, kept: int
) -> Callable[[TrialConfig], TrialReport]:
    """Return the function that Tune calls in the process of a trial.

    Args:
        catalog, sweep, journal: what the trials belong to.
        at_once: number of trials that run at a time.
        kept: memory in bytes of what the process of a trial keeps, see `kept_bytes`.
    """
    import ray.tune

    registered, lanes = registry.registered(), _lanes(catalog, journal.name)
    processes = min(at_once, cluster.trial_slots(kept))
    processes = 0 if sweep.scheduler else processes
    report = report_member if sweep.is_population else ray.tune.report
    name = journal.name

    def turn(number: int) -> contextlib.AbstractContextManager[None]:
        """Wait in a population, whose trials all have processes, until another trial pauses."""
        if not sweep.is_population:
            return contextlib.nullcontext()
        return catalog.store.lock(f"{name}-{number % at_once}")

    def trial(config: TrialConfig) -> TrialReport:
        registry.restore(registered)
        wait_for_processes(lanes, processes)
        with turn(config["number"]):
            return run_trial(catalog, sweep, config["point"], config["seed"], report)

    return trial


def _tune_config(
    sweep: Sweep, queue: TrialQueue, population: Population | None, at_once: int
) -> Any:
    """Return the options of Tune; a population is there at once, as its trials wait for another."""
    import ray.tune

    if population:
        return ray.tune.TuneConfig(scheduler=population.scheduler())
    return ray.tune.TuneConfig(
        search_alg=tune_searcher(queue),
        scheduler=make_scheduler(sweep, [*queue.ended.values()]),
        num_samples=len(queue.left),
        max_concurrent_trials=at_once,
        reuse_actors=not sweep.scheduler,
    )


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
