"""The stages that the trials of a sweep need beyond what the store held when it began."""

from __future__ import annotations

import contextlib
import time

from ...errors import InputError, StorageError
from ...pipeline import classify
from ...pipeline.context import Catalog
from ...pipeline.plan import Plan
from ...pipeline.planner import plan
from ...records.schema import StageRecord, Trial
from ...serialization import parse_time
from ...storage.artifact import Stage
from ...storage.artifact_files import Computation
from ..ranking import point_key
from ..search import MarginalCosts, Need
from ..spaces import Params
from ..sweep import Sweep
from .stage_counts import unneeded_stages

LOST = "failed"
"""Name of the stage that stands for the time which a failed trial lost."""


class NeededStages:
    """The stages of the points of a sweep, and how long they took.

    A stage counts as held by the store if its artifact was written by the second in which the sweep
    began, so that a sweep that was interrupted finds the same stages when it goes on.

    Args:
        catalog: catalog of the store.
        sweep: the sweep.
        started: time when the sweep was first started, with a resolution of a second. In that
            second it must not compute anything (`wait_for_next_second`).
    """

    def __init__(self, catalog: Catalog, sweep: Sweep, started: str) -> None:
        self.catalog, self.sweep, self.began = catalog, sweep, started
        self.started = parse_time(started)
        self._held: dict[str, bool] = {}
        self._needs: dict[str, tuple[Need, ...] | None] = {}

    def __reduce__(self) -> tuple[type[NeededStages], tuple[Catalog, Sweep, str]]:
        """Return what a copy is made of: Ray Tune writes the callback of a sweep to a file."""
        return NeededStages, (self.catalog, self.sweep, self.began)

    def needs(self, point: Params) -> tuple[Need, ...] | None:
        """Return the stages that the trials of a point need and the store did not hold.

        Returns:
            None for a point that makes no experiment.

        Raises:
            StorageError: the store cannot be read.
        """
        text = point_key(point)
        if text not in self._needs:
            try:
                stages = [s for seed in self.sweep.seeds for s in self._stages(point, seed)]
            except StorageError:
                raise
            except InputError:  # the trial will report the error
                self._needs[text] = None
            else:
                new = {s.key: s for s in stages if not self._was_held(s)}
                self._needs[text] = tuple(Need(s.key, s.name, s.title) for s in new.values())
        return self._needs[text]

    def computed(self, point: Params, seed: int) -> tuple[StageRecord, ...]:
        """Return the stages of a trial that ended which the sweep computed, with their seconds.

        They include the stages of its rungs, where a scheduler compared it with other trials. A
        stage is left out if the store cannot be read, so that it is unknown who computed it.
        """
        records = (self._new_record(stage) for stage in self._of_trial(point, seed))
        return tuple(record for record in records if record)

    def lost(self, trial: Trial, ended: float, earlier: int) -> StageRecord:
        """Return the time that a trial lost because it failed, as the record of a stage.

        It is the time in which none of its stages was computed. A stage that another trial computed
        meanwhile is left out, too, because the failed trial may have waited for it.

        Args:
            trial: the trial, with its seconds.
            ended: when it ended, in seconds since 1970.
            earlier: number of times that the trial failed in earlier passes of the sweep.
        """
        began, computed = ended - trial.seconds, 0.0
        for stage in self._of_trial(trial.params, trial.seed):
            with contextlib.suppress(StorageError):
                if computation := self._computation(stage):
                    written = parse_time(computation.written).timestamp() + 1  # at the latest
                    computed += min(computation.seconds, max(0.0, written - began))
        return StageRecord(
            stage=LOST,
            title="failed trial",
            key=f"{trial.id}-{earlier}",
            seconds=round(max(0.0, trial.seconds - computed), 3),
            cached=False,
        )

    def held(self) -> tuple[StageRecord, ...]:
        """Return the stages of the untuned trials that the store held, with their seconds.

        Raises:
            InputError: an untuned trial cannot be planned, or the store cannot be read.
        """
        stages = [s for seed in self.sweep.seeds for s in self._stages({}, seed)]
        records = (self._record(stage) for stage in stages if self._was_held(stage))
        return tuple(record for record in records if record)

    def _plan(self, point: Params, seed: int) -> Plan:
        return plan(self.sweep.trial_experiment(point, seed), self.catalog)

    def _of_trial(self, point: Params, seed: int) -> list[Stage]:
        """Return the stages of a trial and of its rungs; none of a point without an experiment."""
        try:
            planned = self._plan(point, seed)
        except InputError:
            return []
        return [*self._rungs(planned), *self._needed(planned)]

    def _stages(self, point: Params, seed: int) -> list[Stage]:
        return self._needed(self._plan(point, seed))

    def _needed(self, planned: Plan) -> list[Stage]:
        without = {stage.key for stage in unneeded_stages(planned, self.sweep.split)}
        return [stage for stage in planned.stages if stage.key not in without]

    def _rungs(self, planned: Plan) -> list[Stage]:
        if not self.sweep.scheduler or planned.network is None:
            return []
        arguments = (planned.context, planned.trained, planned.network, planned.beside)
        split = self.sweep.split
        return [classify.rung(*arguments, split, epochs).stage for epochs in self.sweep.rungs]

    def _was_held(self, stage: Stage) -> bool:
        """Return whether the store held a stage when the sweep began.

        Raises:
            StorageError: the store cannot be read.
        """
        if stage.key not in self._held:
            computation = self._computation(stage)
            written = computation and parse_time(computation.written)
            self._held[stage.key] = bool(written and written <= self.started)
        return self._held[stage.key]

    def _new_record(self, stage: Stage) -> StageRecord | None:
        """Return the record of a stage that the sweep computed, as far as the store can be read."""
        with contextlib.suppress(StorageError):
            return None if self._was_held(stage) else self._record(stage)
        return None

    def _record(self, stage: Stage) -> StageRecord | None:
        """Return the record of a stage; None where the store does not hold it.

        Raises:
            StorageError: the store cannot be read.
        """
        computation = self._computation(stage)
        if computation is None:
            return None
        return StageRecord(
            stage=stage.name,
            title=stage.title,
            key=stage.key,
            seconds=computation.seconds,
            cached=False,
        )

    def _computation(self, stage: Stage) -> Computation | None:
        """Return the computation of a stage; None without an artifact that has a whole manifest."""
        try:
            return self.catalog.store.computation(stage.name, stage.key)
        except StorageError:
            raise
        except InputError:  # the store will compute the artifact again
            return None


def wait_for_next_second(started: str) -> None:
    """Wait until the second of a time is over; manifests name no fractions of it."""
    while parse_time(started).timestamp() + 1 > time.time() >= parse_time(started).timestamp():
        time.sleep(0.02)


def marginal_costs(needed: NeededStages) -> MarginalCosts:
    """Return the marginal costs of the points of a sweep before its first trial."""
    budget = needed.sweep.spending
    return MarginalCosts(
        needed.needs,
        needed.held(),
        in_stages=bool(budget and budget.in_stages),
        amount=budget.amount if budget else 0.0,
    )
