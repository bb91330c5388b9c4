"""Marginal costs of points: the stages that the trials of a point would compute anew."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...records.schema import StageRecord
from ..spaces.points import Params

TRIAL = 1.0
"""Cost of a trial beside its stages: seconds, or stages where a budget counts stages."""
USUAL_SECONDS: Mapping[str, float] = {
    "segmenter": 900.0,
    "network": 600.0,
    "boundaries": 300.0,
    "superpixels": 120.0,
    "embeddings": 60.0,
    "maps": 30.0,
    "labels": 30.0,
    "segments": 30.0,
    "centers": 20.0,
    "similarities": 5.0,
    "scores": 2.0,
}
"""Seconds that are expected of a stage, by its name, before a stage of its kind has run."""
UNUSUAL_SECONDS = 30.0
"""Seconds that are expected of a stage whose name is not in USUAL_SECONDS."""


class Need(NamedTuple):
    """A stage that the trials of a point need.

    Attributes:
        key: key of the stage.
        name: name of the stage.
        title: title of the stage, which stages of the same kind share.
    """

    key: str
    name: str
    title: str


Needs = Callable[[Params], Sequence[Need] | None]
"""A function that returns the stages that a point needs and that the store did not hold when the
sweep began; None for a point that makes no experiment."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The stages that some points of a sweep computed, and the cost of further stages.

    Attributes:
        computed: the stages by key.
        earlier: stages that the store held when the sweep began, from which times are learnt, too.
        in_stages: whether costs are numbers of stages rather than seconds.
    """

    computed: Mapping[str, StageRecord] = field(default_factory=dict)
    earlier: Sequence[StageRecord] = ()
    in_stages: bool = False

    @property
    def spent(self) -> float:
        """The cost of all stages that were computed, each counted once."""
        if self.in_stages:
            return float(len(self.computed))
        return sum(record.seconds for record in self.computed.values())

    def missing(self, needs: Iterable[Need]) -> list[Need]:
        """Return the needed stages that are still to be computed, each once."""
        return list({n.key: n for n in needs if n.key not in self.computed}.values())

    def seconds(self, need: Need) -> float:
        """Return the seconds that a stage is expected to take.

        They are the mean over the stages with its title that ran, or else USUAL_SECONDS.
        """
        for records in (self.computed.values(), self.earlier):
            known = [record.seconds for record in records if record.title == need.title]
            if known:
                return statistics.fmean(known)
        return USUAL_SECONDS.get(need.name, UNUSUAL_SECONDS)

    def marginal_cost(self, needs: Iterable[Need]) -> float:
        """Return the expected cost of a point: TRIAL and the cost of its missing stages."""
        missing = self.missing(needs)
        return TRIAL + (len(missing) if self.in_stages else sum(map(self.seconds, missing)))

    def with_point(self, needs: Iterable[Need]) -> Account:
        """Return the account as it will be after a point with these needs, at the expected cost."""
        added = {
            need.key: StageRecord(
                stage=need.name,
                title=need.title,
                key=need.key,
                seconds=self.seconds(need),
                cached=False,
            )
            for need in self.missing(needs)
        }
        return Account(
            computed={**self.computed, **added}, earlier=self.earlier, in_stages=self.in_stages
        )


class MarginalCosts:
    """What the points of a sweep computed, and what further points would compute.

    Args:
        needs: returns the stages that a point needs.
        earlier: stages that the store held when the sweep began, with their seconds.
        in_stages: whether costs are numbers of stages rather than seconds.
        amount: budget of the sweep in the unit of the costs; 0 for none.
    """

    def __init__(
        self,
        needs: Needs,
        earlier: Sequence[StageRecord] = (),
        in_stages: bool = False,
        amount: float = 0.0,
    ) -> None:
        self.needs, self.earlier = needs, tuple(earlier)
        self.in_stages, self.amount = in_stages, amount
        self.stages_by_point: dict[int, dict[str, StageRecord]] = {}

    def add(self, number: int, stages: Iterable[StageRecord]) -> None:
        """Take note of the stages that a trial of a point needed and the sweep computed."""
        self.stages_by_point.setdefault(number, {}).update({s.key: s for s in stages})

    def before(self, number: int) -> Account:
        """Return the account of all points with lower numbers."""
        computed: dict[str, StageRecord] = {}
        for point in sorted(self.stages_by_point):
            if point < number:
                computed |= self.stages_by_point[point]
        return Account(computed=computed, earlier=self.earlier, in_stages=self.in_stages)
