"""The queue of the trials of a sweep that are still to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ..records.schema import Trial
from .objectives import mean_objectives
from .search import Searcher, Values
from .spaces import Params
from .sweep import Sweep


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
    """

    def __init__(self, sweep: Sweep, points: Searcher, done: Sequence[Trial]) -> None:
        self.sweep, self.points = sweep, points
        self.ended = {int(t.id): t for t in done}
        self.best = max((t.value for t in done if t.status == "done" and t.value), default=0.0)
        total = sweep.count * sweep.repeats
        self.left = [k for k in range(total) if k not in self.ended]
        self.number: dict[str, int] = {}

    def end(self, number: int, trial: Trial) -> None:
        """Take note that a trial has ended."""
        self.ended[number] = trial
        if trial.status == "done":
            self.best = max(self.best, trial.value or 0.0)

    def values_by_point(self) -> dict[int, Values | None]:
        """Return the mean objectives over random seeds of each point whose trials have all ended.

        It is None for a point whose trials have all failed, or that lacks an objective.
        """
        repeats, means = self.sweep.repeats, dict[int, Values | None]()
        for point in range(self.sweep.count):
            numbers = range(point * repeats, (point + 1) * repeats)
            if all(k in self.ended for k in numbers):
                trials = [self.ended[k] for k in numbers if self.ended[k].value is not None]
                values = mean_objectives(trials, self.sweep.objectives).values()
                known = [value for value in values if value is not None]
                means[point] = known if len(known) == len(values) else None
        return means

    def suggest(self, trial: str) -> TrialConfig | None:
        """Return the config of Tune's next trial, or None while the searcher waits."""
        number = self.left[0]
        point, seed = divmod(number, self.sweep.repeats)
        params = self.points.suggest(point, self.values_by_point())
        if params is None:
            return None
        self.left.pop(0)
        self.number[trial] = number
        return {"number": number, "point": params, "seed": self.sweep.seeds[seed]}
