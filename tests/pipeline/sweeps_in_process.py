"""Sweeps in the process of a test: trials run one after another, without Ray Tune's processes.

The searcher, the scheduler and the callback of a sweep are those that Tune gets. `test_sweep.py`
and `test_cli_sweep.py` run sweeps with Tune as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import ray.tune
from ray import cloudpickle
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from wsss.platform.ray_runtime import cluster


class StoppedError(BaseException):
    """The end of a trial that the scheduler stops at a rung."""


@dataclass(eq=False)
class Trial:
    """What a sweep's scheduler and callback read of a trial of Tune."""

    trial_id: str
    config: Mapping[str, Any]
    status: str = "RUNNING"
    last_result: Mapping[str, Any] | None = None


class Tuner:
    """The part of Tune's `Tuner` that a sweep without a population uses.

    Args:
        function: what runs a trial; a trial gets a copy of it, as in another process.
        param_space: None.
        tune_config: searcher, scheduler and number of trials.
        run_config: callbacks.
    """

    running: ClassVar[Callable[[Mapping[str, Any]], None]]

    def __init__(
        self, function: Any, *, param_space: None, tune_config: Any, run_config: Any
    ) -> None:
        assert param_space is None
        self.function = cloudpickle.loads(cloudpickle.dumps(function))
        self.searcher, self.count = tune_config.search_alg, tune_config.num_samples
        self.scheduler = tune_config.scheduler or FIFOScheduler()
        self.callbacks = run_config.callbacks

    @classmethod
    def report(cls, result: Mapping[str, Any]) -> None:
        """Take the result of the running trial at a rung; end the trial if it is stopped."""
        cls.running(result)

    def fit(self) -> None:
        """Run trials until the searcher gives no further one."""
        for number in range(self.count):
            config = self.searcher.suggest(str(number))
            if config == Searcher.FINISHED:
                return
            assert config, "no trial runs that the next trial could wait for"
            self._run(Trial(str(number), cloudpickle.loads(cloudpickle.dumps(config))))

    def _run(self, trial: Trial) -> None:
        self.scheduler.on_trial_add(None, trial)
        self._call("on_trial_start", trial)

        def take(result: Mapping[str, Any]) -> None:
            trial.last_result = result
            self._call("on_trial_result", trial, result=result)
            if self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                raise StoppedError

        Tuner.running = staticmethod(take)
        with contextlib.suppress(StoppedError):
            take(self.function(trial.config))
        trial.status = "TERMINATED"
        self.scheduler.on_trial_complete(None, trial, trial.last_result)
        self._call("on_trial_complete", trial)

    def _call(self, name: str, trial: Trial, **more: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(0, [trial], trial=trial, **more)


@contextlib.contextmanager
def sweeps_in_process() -> Iterator[None]:
    """Run the trials of sweeps in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "trial_resources", lambda kept: {"cpu": 0.01})
        patch.setattr(cluster, "trial_slots", lambda kept: 1)
        patch.setattr(cluster, "training_slots", lambda workers: 1)
        patch.setattr(ray.tune, "Tuner", Tuner)
        patch.setattr(ray.tune, "report", Tuner.report)
        yield
