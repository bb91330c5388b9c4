"""Population based training: trainings that take over better ones and change their options.

All trainings of a population have the same random seed and order of images, so a training that
takes over another one at an epoch is the training of one experiment: that of the better training,
whose options change after this epoch (`Training.changes`).

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config.groups.changes import change_text
from ...errors import InputError
from ...pipeline import classify
from ...pipeline.context import Catalog, Runtime
from ...pipeline.planner import plan
from ...ray_runtime.quirks.populations import (
    changing,
    compared_at_rungs,
    drawn_by_trial,
    going_on_after_losses,
)
from ...storage.artifact import Stage
from ..spaces import Params
from ..spaces.domains import Listed, Numbers
from ..sweep import Sweep
from ..trial import TrialReport
from .schedulers import RUNG
from .trial_queue import TrialConfig, TrialQueue

CHANGES = "training.changes"


class MemberConfig(TrialConfig):
    """What Tune hands to the process of a trial of a population.

    `values` holds the values of the space's fields that hold now, and `point` those at the start of
    the training, with its changes.
    """

    values: dict[str, Any]


class Population:
    """The trainings of a sweep that run side by side.

    Args:
        sweep: the sweep.
        queue: queue of its trials, which is emptied.

    Attributes:
        points: the points of all trainings that were begun, also of those that were given up.
    """

    def __init__(self, sweep: Sweep, queue: TrialQueue) -> None:
        self.sweep = sweep
        self.points: list[Params] = []
        while queue.left:
            config = queue.suggest()
            assert config is not None, "points of a population do not depend on results"
            self.points.append(config["point"])

    def param_space(self) -> dict[str, Any]:
        """Return the space of Tune, whose grid is the trials of the population in their order."""
        import ray.tune

        points = [*self.points]

        def point(config: Mapping[str, Any]) -> Params:
            return dict(points[config["number"]])

        return {
            "number": ray.tune.grid_search([*range(len(points))]),
            "point": ray.tune.sample_from(point),
            "values": ray.tune.sample_from(point),
            "seed": self.sweep.base.seed,
        }

    def scheduler(self) -> Any:
        """Return Tune's scheduler, which compares all trainings at each rung.

        The worst quarter takes over trainings of the best quarter.
        """
        from ray.tune.schedulers import PopulationBasedTraining

        scheduler = PopulationBasedTraining(
            **RUNG,
            perturbation_interval=self.sweep.rungs[0],
            hyperparam_mutations={"values": dict(self._mutations())},
            custom_explore_fn=self._within_domains,
            log_config=False,
            synch=True,
        )
        drawn_by_trial(scheduler, self.sweep.base.seed)
        changing(scheduler, self._changed)
        return going_on_after_losses(compared_at_rungs(scheduler))

    def _mutations(self) -> Iterator[tuple[str, list[object] | Callable[[], object]]]:
        for field, domain in self.sweep.space.items():
            if isinstance(domain, Listed):
                yield field, [*domain.values]
            else:
                assert isinstance(domain, Numbers)
                yield field, _draw(domain)

    def _within_domains(self, config: MemberConfig) -> MemberConfig:
        """Return a config whose values are moved into the domains of the space."""
        for field, domain in self.sweep.space.items():
            if isinstance(domain, Numbers):
                config["values"][field] = domain.nearest(config["values"][field])
        return config

    def _changed(self, better: MemberConfig, config: MemberConfig, epochs: int) -> MemberConfig:
        """Return the config of a training that goes on from a better one, and note its point."""
        config["point"] = changed(better["point"], epochs, better["values"], config["values"])
        self.points.append(config["point"])
        return config

    def clean(self, catalog: Catalog) -> None:
        """Remove the checkpoints of all trainings of the population."""
        from ...stages.training import checkpoints

        runtime = Runtime(catalog.store)
        for point in self.points:
            try:
                stages = self._stages(catalog, point)
            except InputError:  # a point that makes no experiment began no training
                continue
            for stage in stages:
                with catalog.store.lock(stage.key):
                    if stage.name == "network":
                        checkpoints.forget(runtime.home(stage))
                    else:
                        catalog.store.folder(stage.name, stage.key).remove_tree()

    def _stages(self, catalog: Catalog, point: Params) -> list[Stage]:
        """Return the network of a point, and its checkpoints at the rungs."""
        planned = plan(self.sweep.trial_experiment(point), catalog)
        assert planned.network is not None
        arguments = (planned.context, planned.trained, planned.beside)
        kept = [classify.checkpoint(*arguments, epochs).stage for epochs in self.sweep.rungs]
        return [planned.network, *kept]


def _draw(domain: Numbers) -> Callable[[], object]:
    return lambda: domain.at_share(random.random())


def changed(
    point: Mapping[str, Any], epochs: int, before: Params, after: Mapping[str, Any]
) -> Params:
    """Return the point of a training that goes on with other values.

    Args:
        point: point of the training so far, which may hold changes.
        epochs: epochs that it has trained.
        before: values of the space's fields so far.
        after: values with which it goes on.
    """
    new = {field.rpartition(".")[2]: v for field, v in after.items() if v != before[field]}
    changes = [change_text(epochs, new)] if new else []
    earlier = [*point.get(CHANGES, ())]
    return {**point, **({CHANGES: [*earlier, *changes]} if earlier or changes else {})}


def report_member(report: TrialReport) -> None:
    """Report a rung to Tune with a checkpoint, without which no trial can take over another.

    The checkpoints of trainings lie in the store; Tune's is empty but for the epoch.
    """
    import ray.tune

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "epoch").write_text(str(report["epoch"]))
        ray.tune.report(report, checkpoint=ray.tune.Checkpoint.from_directory(folder))
