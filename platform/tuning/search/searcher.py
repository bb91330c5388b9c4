"""The interface of searchers, which choose the points of a search space that a sweep tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..spaces.points import Params

Values = Sequence[float]
"""The objectives of a point, in the order in which the sweep names them."""


class Searcher(Protocol):
    """A source of the points of one sweep, which remembers earlier points."""

    def suggest(self, number: int, values_by_point: Mapping[int, Values | None]) -> Params | None:
        """Return point number `number`, or None while it depends on points that have not ended.

        The point follows from the space, the random seed and the values of earlier points alone,
        so that an interrupted sweep continues as if it had not been interrupted.

        Args:
            number: number of the point, from 0 on.
            values_by_point: objectives of each point that has ended, by the point's number; None
                for a point that failed.
        """

    def recall(self, number: int, point: Params) -> None:
        """Take note that a point had this number before the sweep was interrupted."""
