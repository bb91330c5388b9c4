"""The queue of the trials of a sweep that are still to run."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict

from ...errors import InputError
from ...records.schema import StageRecord, Trial
from ..costs.needed_stages import LOST
from ..objectives import OBJECTIVES, BestSoFar, mean_objectives, parse_rule
from ..ranking import point_key
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
        before: trials that ended in earlier passes of the sweep; those that failed run again.
        costs: marginal costs of points; None for a sweep that does not count them.

    Attributes:
        lost: for each trial that failed in an earlier pass, the time that its failures took.
    """

    def __init__(
        self,
        sweep: Sweep,
        points: Searcher,
        before: Sequence[Trial],
        costs: MarginalCosts | None = None,
    ) -> None:
        self.sweep, self.points, self.costs = sweep, points, costs
        self.ended: dict[int, Trial] = {}
        self.error: Exception | None = None
        self.total = sweep.count * sweep.repeats
        self._best = BestSoFar(parse_rule(sweep.best))
        self._values: dict[int, Values | None] = {}
        self._same: dict[tuple[str, int], list[int]] = {}
        self.lost: dict[int, tuple[StageRecord, ...]] = {}
        for trial in before:
            if trial.error:
                self._note_lost(int(trial.id), trial)
            else:
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
        self._count(number, trial.stages)
        same = self._same.setdefault(self._training(number), [])
        bisect.insort(same, number)
        for again in same[same.index(number) :]:
            self._take_values(again // self.sweep.repeats)

    @property
    def leader(self) -> str:
        """The value of the best point so far by the sweep's rule, in words; empty without one."""
        if (mean := self._best.mean) is None:
            return ""
        return f"best by {self.sweep.best}: {OBJECTIVES[self._best.rule.objective].text(mean)}"

    def _note_lost(self, number: int, trial: Trial) -> None:
        """Count the time that a trial lost in an earlier pass, and keep it for its next end."""
        self.lost[number] = tuple(stage for stage in trial.stages if stage.stage == LOST)
        self._count(number, self.lost[number])

    def _count(self, number: int, stages: Sequence[StageRecord]) -> None:
        """Count stages that a trial computed, and the time that it lost."""
        if self.costs:
            self.costs.add(number // self.sweep.repeats, stages)

    def _training(self, number: int) -> tuple[str, int]:
        """Return what an ended trial shares with all trials of the same training.

        It is the key of the point, and the position of the random seed among the sweep's seeds.
        """
        return point_key(self.ended[number].params), number % self.sweep.repeats

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
            trials = [trial for trial in map(self._first, numbers) if trial.value is not None]
            means = mean_objectives(trials, self.sweep.objectives).values()
            known = [mean for mean in means if mean is not None]
            self._values[point] = known if len(known) == len(means) else None

    def _first(self, number: int) -> Trial:
        """Return the first finished trial of the training of a trial that has ended.

        A point that is tried again finds its stages in the store, so that its own seconds would be
        those of a point that costs nothing. Without a finished trial before it, it is the trial
        itself.
        """
        same = self._same[self._training(number)]
        finished = (k for k in same if k <= number and self.ended[k].status == "done")
        return self.ended[next(finished, number)]

    def suggest(self) -> TrialConfig | None:
        """Return the config of the next trial.

        Returns:
            None while the point depends on trials that have not ended, or where no trial is left.
        """
        number = self.left[0]
        point, seed = divmod(number, self.sweep.repeats)
        values = self.values_by_point()
        tried_again = number in self.lost or number < max(self.ended, default=0)
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
