"""The queue of the trials of a sweep that are still to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict

from ...errors import InputError
from ...records.schema import StageRecord, Trial
from ..objectives import OBJECTIVES, BestSoFar, mean_objectives, parse_rule
from ..search import MarginalCosts, Searcher, Values
from ..spaces import Params
from ..sweep import Sweep


class TrialConfig(TypedDict):
    """What Tune hands to the process of a trial: its number, its point and its random seed."""

    number: int
    point: Params
    seed: int


class TrialQueue:
    """The queue of trials to run; it hands out a trial as soon as the searcher gives its point.

    Args:
        sweep: sweep that the trials belong to.
        points: searcher of the sweep.
        done: trials that need not run again.
        costs: marginal costs of points; None for a sweep that does not count them.
    """

    def __init__(
        self,
        sweep: Sweep,
        points: Searcher,
        done: Sequence[Trial],
        costs: MarginalCosts | None = None,
    ) -> None:
        self.sweep, self.points, self.costs = sweep, points, costs
        self.ended: dict[int, Trial] = {}
        self.error: Exception | None = None
        self.total = sweep.count * sweep.repeats
        self._best = BestSoFar(parse_rule(sweep.best))
        self._values: dict[int, Values | None] = {}
        for trial in done:
            self.end(int(trial.id), trial)
        self.left = [k for k in range(self.total) if k not in self.ended]

    @property
    def title(self) -> str:
        """The number of trials in words, or the budget that may end them earlier."""
        return f"{self.total} trials" + (f", or {self.sweep.budget}" if self.sweep.budget else "")

    @contextmanager
    def kept_error(self) -> Iterator[None]:
        """Keep the first error of such blocks, after which the queue hands out no further trial.

        Tune would take what its callbacks raise for a failure of the trial and run it again, or
        wrap it into an error of its own.
        """
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            self.left.clear()

    def check_intact(self) -> None:
        """Raise the error that `kept_error` kept, if it kept one."""
        if self.error:
            raise self.error

    def check_ended(self, name: str) -> None:
        """Check that all trials of the queue have ended.

        Lines that an earlier pass of a population left in the journal do not count.

        Args:
            name: name of the sweep, for the message.

        Raises:
            InputError: the sweep was broken off.
        """
        if len(self.ended) < self.total:
            raise InputError(
                f"sweep {name!r} was broken off after {len(self.ended)} of {self.total} trials; "
                "--resume goes on with it"
            )

    def end(self, number: int, trial: Trial) -> None:
        """Take note that a trial has ended."""
        self.ended[number] = trial
        self._best.add(trial)
        self._count(number, trial)
        self._take_values(number // self.sweep.repeats)

    @property
    def leader(self) -> str:
        """The value of the best point so far by the sweep's rule, in words; empty without one."""
        if (mean := self._best.mean) is None:
            return ""
        return f"best by {self.sweep.best}: {OBJECTIVES[self._best.rule.objective].text(mean)}"

    def _count(self, number: int, trial: Trial) -> None:
        """Count what a trial computed; one that failed also spent the time of its last stage."""
        stages = list(trial.stages)
        if trial.status == "failed":
            lost = max(0.0, trial.seconds - sum(stage.seconds for stage in stages))
            stages.append(
                StageRecord(
                    stage="failed", title="failed trial", key=trial.id, seconds=lost, cached=False
                )
            )
        if self.costs:
            self.costs.add(number // self.sweep.repeats, stages)

    def values_by_point(self) -> dict[int, Values | None]:
        """Return the mean objectives over random seeds of each point whose trials have all ended.

        It is None for a point whose trials have all failed, or that lacks an objective.
        """
        return dict(sorted(self._values.items()))

    def _take_values(self, point: int) -> None:
        """Take the mean objectives of a point once its trials have all ended."""
        repeats = self.sweep.repeats
        numbers = range(point * repeats, (point + 1) * repeats)
        if all(k in self.ended for k in numbers):
            trials = [self.ended[k] for k in numbers if self.ended[k].value is not None]
            means = mean_objectives(trials, self.sweep.objectives).values()
            known = [mean for mean in means if mean is not None]
            self._values[point] = known if len(known) == len(means) else None

    def suggest(self) -> TrialConfig | None:
        """Return the config of the next trial.

        Returns:
            None while the point depends on trials that have not ended, or where no trial is left.
        """
        number = self.left[0]
        point, seed = divmod(number, self.sweep.repeats)
        values = self.values_by_point()
        tried_again = number < max(self.ended, default=0)
        if self.sweep.budget and not tried_again and not self._within_budget(point, values):
            return None
        params = self.points.suggest(point, values)
        if params is None:
            return None
        self.left.pop(0)
        return {"number": number, "point": params, "seed": self.sweep.seeds[seed]}

    def _within_budget(self, point: int, values: Mapping[int, object]) -> bool:
        """Return whether a point may be tried, and leave no trial where the budget is spent.

        What the points of earlier generations computed decides, so that a sweep ends with the same
        point whichever trial ends first.
        """
        start = point // self.sweep.concurrent * self.sweep.concurrent
        if any(k not in values for k in range(start)):
            return False
        assert self.costs is not None
        if self.costs.before(start).spent < self.costs.amount:
            return True
        self.total = self.left[0]
        self.left.clear()
        return False
