"""Work-arounds for population based training in Ray Tune: draws, lost trials, configs, rungs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

MOST_DRAWS = 10
"""Most draws of new values for a trial that takes over a better one."""


def drawn_by_trial(scheduler: Any, seed: int) -> Any:
    """Let a `PopulationBasedTraining` draw by the number of a trial and its epochs.

    Args:
        scheduler: the scheduler, which draws from the random numbers of `random` and NumPy.
        seed: random seed.

    Returns:
        The scheduler.
    """
    decide = scheduler._checkpoint_or_exploit

    def checkpoint_or_exploit(trial: Any, *arguments: Any) -> None:
        states = random.getstate(), np.random.get_state()
        epochs = scheduler._trial_state[trial].last_perturbation_time
        random.seed(f"{seed}-{trial.config['number']}-{epochs}")
        np.random.seed(random.getrandbits(32))
        try:
            decide(trial, *arguments)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])

    scheduler._checkpoint_or_exploit = checkpoint_or_exploit
    return scheduler


def going_on_after_losses(scheduler: Any) -> Any:
    """Let a synchronous `PopulationBasedTraining` go on where trials wait for one that was lost.

    They go on without a comparison at that epoch. A trial that goes on reports its earlier epochs
    again, so they count as compared; otherwise the scheduler would pause it there for ever.
    """
    choose = scheduler.choose_trial_to_run

    def choose_trial_to_run(controller: Any) -> Any:
        trial, live = choose(controller), controller.get_live_trials()
        if trial is None and live and all(t.status == "PAUSED" for t in live):
            scheduler._next_perturbation_sync += scheduler._perturbation_interval
            for state in (scheduler._trial_state[t] for t in live):
                state.last_perturbation_time = state.last_train_time
            trial = choose(controller)
        return trial

    scheduler.choose_trial_to_run = choose_trial_to_run
    return scheduler


def compared_at_rungs(scheduler: Any) -> Any:
    """Keep results that belong to no rung from a `PopulationBasedTraining`."""
    compare = scheduler.on_trial_result

    def on_trial_result(controller: Any, trial: Any, result: Any) -> Any:
        return compare(controller, trial, result) if "epoch" in result else "CONTINUE"

    scheduler.on_trial_result = on_trial_result
    return scheduler


def changing(scheduler: Any, change: Callable[[Any, Any, int], Any]) -> Any:
    """Let a function complete the config of a trial that takes over a better one.

    New values that equal the better trial's are drawn again, as both would be one training.

    Args:
        scheduler: a `PopulationBasedTraining`, which copies the better trial's config and gives it
            new values.
        change: function of the better trial's config, the new config and the epochs that both have
            trained, which returns the config; the trial keeps its number.

    Returns:
        The scheduler.
    """
    explore = scheduler._get_new_config

    def get_new_config(trial: Any, better: Any) -> Any:
        for _ in range(MOST_DRAWS):
            config, operations = explore(trial, better)
            if config != better.config:
                break
        epochs = scheduler._trial_state[trial].last_perturbation_time
        config = {**change(better.config, config, epochs), "number": trial.config["number"]}
        return config, operations

    scheduler._get_new_config = get_new_config
    return scheduler
