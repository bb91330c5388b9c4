"""Trials of a population without Ray's processes, as its scheduler sees them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsss.platform.tuning.runner.population import Population


class Checkpoints(SimpleNamespace):
    """What a scheduler reads of a trial's checkpoints."""


class Member:
    """A trial of Tune without a process, which is always paused with a checkpoint."""

    def __init__(self, config):
        self.config, self.trial_id, self.experiment_tag = config, str(config["number"]), ""
        self.status, self.checkpoint, self.ended = "PAUSED", "checkpoint", False
        manager = Checkpoints(checkpoint_config=Checkpoints(num_to_keep=None))
        self.run_metadata = Checkpoints(checkpoint_manager=manager)
        self.temporary_state = Checkpoints(saving_to=None)
        self.last_result = {}

    def is_finished(self):
        return self.ended

    def set_experiment_tag(self, tag):
        self.experiment_tag = tag

    def set_config(self, config):
        self.config = config


class Controller:
    """The part of Tune's controller that a scheduler reads."""

    search_alg = None

    def __init__(self, members):
        self.members = members

    def get_trials(self):
        return self.members

    def get_live_trials(self):
        return [member for member in self.members if not member.ended]


def begin(population: Population, scheduler: Any) -> Controller:
    """Return the trials of a population before their first epoch, which its scheduler knows."""
    configs = [
        {"number": k, "point": dict(p), "values": dict(p), "seed": population.sweep.base.seed}
        for k, p in enumerate(population.points)
    ]
    controller = Controller([Member(config) for config in configs])
    for member in controller.members:
        scheduler.on_trial_add(controller, member)
    return controller
