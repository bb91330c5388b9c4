"""What Ray Tune calls while it runs the trials of a sweep: the searcher and the callback.

Trackers get each trial from the callback, as the journal keeps it: a `LoggerCallback` of Tune would
know only what the trial reported.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from ...records.field_labels import field_labels, short_text
from ...records.progress import ProgressDisplay
from ...records.schema import StageRecord, Trial, score_from_json
from ..costs.needed_stages import NeededStages
from ..journal import Journal
from ..trial import FAILED, TrialReport
from .trial_queue import TrialConfig, TrialQueue


class TuneTrial(Protocol):
    """The part of Ray Tune's `Trial` that the runner reads."""

    trial_id: str
    status: str
    config: TrialConfig
    last_result: TrialReport | None

    def get_error(self) -> Exception | None: ...


def tune_searcher(queue: TrialQueue) -> object:
    """Return the searcher through which Tune takes trials from a queue."""
    from ray.tune.search import Searcher

    class Search(Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> object:
            config: TrialConfig | None = None
            with queue.kept_error():
                config = queue.suggest() if queue.left else None
            return config if config or queue.left else Searcher.FINISHED

        def on_trial_complete(
            self, trial_id: str, result: object = None, error: bool = False
        ) -> None:
            """Do nothing: the callback keeps the result."""

        def save(self, checkpoint_path: str) -> None:
            """Do nothing: a sweep resumes from its record under `sweeps/`."""

        def restore(self, checkpoint_path: str) -> None:
            """Do nothing: a sweep resumes from its record under `sweeps/`."""

    return Search()


def watch(
    journal: Journal, queue: TrialQueue, progress: ProgressDisplay, needed: NeededStages | None
) -> object:
    """Return the callback that keeps each trial that ends, with its stages if these are given."""
    import ray.tune

    rungs: dict[int, dict[int, float]] = {}
    running: dict[str, str] = {}
    began: dict[str, float] = {}

    class Watch(ray.tune.Callback):  # type: ignore[misc]
        def on_trial_start(
            self, iteration: int, trials: object, trial: TuneTrial, **info: object
        ) -> None:
            began.setdefault(trial.trial_id, time.monotonic())  # Tune starts a lost trial again
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
            if "epoch" in result and result["value"] not in (None, FAILED):
                rungs.setdefault(trial.config["number"], {})[result["epoch"]] = result["value"]

        def on_trial_complete(
            self, iteration: int, trials: Sequence[TuneTrial], trial: TuneTrial, **info: object
        ) -> None:
            number = trial.config["number"]
            running.pop(trial.trial_id, None)
            with queue.kept_error():
                progress.running([*running.values()])
                ended = _trial(trial, rungs, began, needed, queue)
                journal.add(ended)
                queue.end(number, ended)
                progress.trial(ended)
                progress.update(_state(queue, trials, ended), len(queue.ended), queue.total)

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
    """Return the state of a sweep in words: running and failed trials, and the best point."""
    running = sum(t.status == "RUNNING" for t in trials)
    words = [f"{running} running"] if running else []
    if failed := sum(t.value is None for t in queue.ended.values()):
        words.append(f"{failed} failed ({ended.error})" if ended.error else f"{failed} failed")
    return ", ".join([*words, *([queue.leader] if queue.leader else [])])


def _trial(
    trial: TuneTrial,
    rungs: Mapping[int, Mapping[int, float]],
    began: Mapping[str, float],
    needed: NeededStages | None,
    queue: TrialQueue,
) -> Trial:
    """Return a trial from its last report to Tune, or from the error that ended its actor.

    Args:
        trial: the trial as Tune knows it.
        rungs: the score of each trial by number and epochs.
        began: when each trial began, by its id, because an actor that ends reports no seconds.
        needed: the stages that the trials of the sweep need, if it counts them.
        queue: the queue of the trials.
    """
    config, metrics = trial.config, trial.last_result or {}
    lost = str(trial.get_error()).strip().splitlines()[-1] if trial.status == "ERROR" else None
    error = lost or metrics.get("error")
    stopped, now = "epoch" in metrics, time.monotonic()
    since_start = round(now - began.get(trial.trial_id, now), 3)
    ended = Trial(
        id=f"{config['number']:04d}",
        params=dict(config["point"]),
        status="failed" if error else "stopped" if stopped else "done",
        seconds=since_start if lost else metrics.get("seconds", 0.0),
        value=None if error else metrics.get("value"),
        score=None if error else score_from_json(metrics.get("score")),
        error=error,
        cached=metrics.get("cached", False),
        seed=config["seed"],
        rungs=tuple(rungs.get(config["number"], {}).items()),
    )
    return _with_stages(ended, needed, queue.lost.get(config["number"], ())) if needed else ended


def _with_stages(trial: Trial, needed: NeededStages, lost: Sequence[StageRecord]) -> Trial:
    """Return a trial that has just ended with what it cost.

    Args:
        trial: the trial.
        needed: the stages that the trials of the sweep need.
        lost: the time that the trial lost in earlier passes of the sweep.
    """
    stages = [*lost, *needed.computed(trial.params, trial.seed)]
    if trial.error:
        stages.append(needed.lost(trial, time.time(), len(lost)))
    return dataclasses.replace(trial, stages=tuple(stages))
