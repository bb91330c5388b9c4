"""The searcher by expected improvement per unit of cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..ranking import point_key
from ..spaces.domains import Space, continuous_field
from ..spaces.points import Params, grid
from .encoding import Encoding
from .gaussian_process import Array, GaussianProcess, log_expected_improvement
from .known_points import sobol_points
from .marginal_costs import TRIAL, Account, MarginalCosts, Need
from .searcher import Values

STARTUP = 2
"""Number of points of a Sobol sequence that are tried before any point is chosen."""
PARENTS = 4
"""Number of points with the best values near which candidates lie."""
NEAR, ANYWHERE = 48, 256
"""Number of candidates for each parent and set of axes, and in the whole space."""
PRICED = 6
"""Number of candidates of a set of axes whose cost is computed, those that promise most."""
FITTED_ONE_BY_ONE, FIT_EVERY, MOST_FITTED = 40, 10, 200
"""Number of values up to which each one leads to a new fit of the Gaussian process, number of
further values that lead to one, and most values that it is fitted to."""
STEP = 0.15
"""Standard deviation of a small step along an axis, as a share of the axis."""


class Priced(NamedTuple):
    """A candidate with its needs.

    Attributes:
        point: values by field.
        needs: stages that its trials need.
        promise: logarithm of the expected improvement.
        cost: marginal cost.
    """

    point: Params
    needs: Sequence[Need]
    promise: float
    cost: float


class CostAwarePoints:
    """A searcher over points with the highest expected improvement per unit of marginal cost.

    A Gaussian process predicts the objective. A point's cost is that of the stages that it needs
    and that no earlier point computed. The logarithm of the cost counts less and less: its weight
    falls from 1 to 0 as the budget, or the number of points, is used up. Candidates lie in the
    whole space, and near the best points: there, sets of axes change of which each contains the
    axes that cost less, so that the stages that cost more are kept.

    Points are suggested in generations, as by `OptunaPoints`. Within a generation a stage counts as
    computed once a point needs it, and points that share missing stages follow one another.

    Sources: expected improvement per second, Snoek et al., NeurIPS 2012; its cooling, Lee et al.,
    Cost-aware Bayesian Optimization, 2020.

    Args:
        space: the search space.
        seed: random seed of every draw.
        width: number of points in a generation, which run at the same time.
        count: number of points of the sweep.
        costs: marginal costs, from what the trials computed.
        maximized: whether more of the objective is better.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        width: int,
        count: int,
        costs: MarginalCosts,
        maximized: bool = True,
    ) -> None:
        self.encoding, self.seed, self.width, self.count = Encoding(space), seed, width, count
        self.costs, self.sign = costs, 1.0 if maximized else -1.0
        self.start = sobol_points(space, min(STARTUP, count), seed)
        self.points: dict[int, Params] = {}
        self.fitted: tuple[int, Array] | None = None
        """The number of values from which the process was fitted, and its hyperparameters."""

    def suggest(self, number: int, values_by_point: Mapping[int, Values | None]) -> Params | None:
        if number not in self.points:
            start = number // self.width * self.width
            if any(k not in values_by_point for k in range(start)):
                return None
            self._add_generation(start, values_by_point)
        return self.points[number]

    def recall(self, number: int, point: Params) -> None:
        self.points[number] = point

    def _add_generation(self, start: int, values_by_point: Mapping[int, Values | None]) -> None:
        """Choose the points of the generation that begins with a number."""
        account = self.costs.before(start)
        share = account.spent / self.costs.amount if self.costs.amount else start / self.count
        known = [k for k in range(start) if values_by_point[k] is not None]
        y = np.array([self.sign * (values_by_point[k] or [0.0])[0] for k in known])
        process = self._process([self.points[k] for k in known], y)
        parents = [self.points[known[k]] for k in np.argsort(-y, kind="stable")[:PARENTS]]
        chosen: list[tuple[Params, Sequence[Need]]] = []
        for number in range(start, start + self.width):
            tried = [*(self.points[k] for k in range(start)), *(p for p, _ in chosen)]
            if number < len(self.start) or not process:
                point = self.start[number] if number < len(self.start) else self._drawn(number)
                best = (point, self.costs.needs(point) or ())
            else:
                search = _Search(self, process, account, number)
                best = search.best(parents, tried, float(y.max()), 1 - min(share, 1.0))
                process = process.with_expected(self.encoding.features([best[0]]))
            chosen.append(best)
            account = account.with_point(best[1])
        for k, (point, _) in enumerate(together(chosen, self.costs.before(start))):
            self.points.setdefault(start + k, point)

    def _process(self, points: Sequence[Params], y: Array) -> GaussianProcess | None:
        """Return the prediction of the objective; None where fewer than two values differ.

        The more points there are, the more rarely it is fitted anew; a sweep that was interrupted
        fits it to the same points again.
        """
        count = len(y) if len(y) < FITTED_ONE_BY_ONE else len(y) // FIT_EVERY * FIT_EVERY
        first = y[: min(count, MOST_FITTED)]
        if len(first) < 2 or np.ptp(first) == 0:
            return None
        x = self.encoding.features(points)
        if self.fitted is None or self.fitted[0] != len(first):
            self.fitted = len(first), GaussianProcess.fitted(x[: len(first)], first).theta
        return GaussianProcess(x, y, float(y.mean()), float(y.std()), self.fitted[1])

    def _drawn(self, number: int) -> Params:
        """Return a point at random."""
        draws = np.random.default_rng([self.seed, number]).random(len(self.encoding.axes))
        return self.encoding.point(draws, f"{self.seed}-{number}")


class _Search:
    """The search for one point.

    Args:
        points: searcher that the point is for.
        process: prediction of the objective.
        account: stages that earlier points compute.
        number: number of the point.
    """

    def __init__(
        self, points: CostAwarePoints, process: GaussianProcess, account: Account, number: int
    ) -> None:
        self.encoding, self.costs, self.process = points.encoding, points.costs, process
        self.account, self.seed = account, f"{points.seed}-{number}"
        self.sweep_seed = points.seed
        self.random = np.random.default_rng([points.seed, number])

    def best(
        self, parents: Sequence[Params], tried: Sequence[Params], value: float, weight: float
    ) -> tuple[Params, Sequence[Need]]:
        """Return the best candidate that was not tried, with its needs.

        Candidates that the rest of the budget does not pay for are left out if others are paid for.

        Args:
            parents: points near which candidates lie, the best one first.
            tried: points that are no candidates.
            value: best value so far.
            weight: weight of the logarithm of the cost.
        """
        left = self.costs.amount - self.account.spent if self.costs.amount else np.inf
        keys = {point_key(point) for point in tried}
        candidates: list[Priced] = []
        for rows in self._rows(parents):
            points = [self.encoding.point(row, self.seed) for row in rows]
            points = [p for key, p in {point_key(p): p for p in points}.items() if key not in keys]
            candidates += self._priced(points, value)
        if not candidates:
            point = self._untried(keys) or tried[0]
            return point, self.costs.needs(point) or ()
        paid = [c for c in candidates if c.cost - TRIAL <= left] or [min(candidates, key=_cost)]
        best = max(paid, key=lambda c: score(c.promise, c.cost, weight))
        return best.point, best.needs

    def _untried(self, keys: Collection[str]) -> Params | None:
        """Return the first point of the grid that was not tried; None where all were tried."""
        space = self.encoding.space
        points = () if continuous_field(space) else grid(space, self.sweep_seed)
        return next((point for point in points if point_key(point) not in keys), None)

    def _priced(self, points: Sequence[Params], value: float) -> list[Priced]:
        """Return the points that promise most, with their costs."""
        if not points:
            return []
        promises = log_expected_improvement(
            *self.process.predict(self.encoding.features(points)), value
        )
        priced: list[Priced] = []
        for k in np.argsort(-promises, kind="stable"):
            needs = self.costs.needs(points[k])
            if needs is not None:
                cost = self.account.marginal_cost(needs)
                priced.append(Priced(points[k], needs, float(promises[k]), cost))
            if len(priced) == PRICED:
                break
        return priced

    def _rows(self, parents: Sequence[Params]) -> Iterator[Array]:
        """Iterate over arrays of candidates `[n, A]`: one anywhere, and one for each set of axes
        that change near the parents."""
        count = len(self.encoding.axes)
        yield self.random.random((ANYWHERE, count))
        around = np.array([self.encoding.shares(point) for point in parents])
        for changed in self._axes_by_cost(around[0]):
            rows = np.repeat(around, NEAR, axis=0)
            moves = self.random.random(rows.shape) < 0.6
            moves[np.arange(len(rows)), self.random.choice(changed, len(rows))] = True
            moves[:, np.setdiff1d(np.arange(count), changed)] = False
            steps = rows + STEP * self.random.standard_normal(rows.shape)
            drawn = np.where(
                self.random.random(rows.shape) < 0.5, steps, self.random.random(rows.shape)
            )
            yield np.where(moves, np.clip(drawn, 0, 1), rows)

    def _axes_by_cost(self, shares: Array) -> Iterator[npt.NDArray[np.int64]]:
        """Iterate over sets of axes: those that cost least to change, then further ones, too."""
        costs = []
        for axis in range(len(shares)):
            moved = shares.copy()
            moved[axis] = (moved[axis] + 0.5) % 1
            needs = self.costs.needs(self.encoding.point(moved, self.seed))
            costs.append(np.inf if needs is None else self.account.marginal_cost(needs))
        for cost in sorted({*costs}):
            yield np.flatnonzero(np.array(costs) <= cost)


def score(promise: float, cost: float, weight: float) -> float:
    """Return the logarithm of the expected improvement divided by a power of the cost.

    Args:
        promise: logarithm of the expected improvement.
        cost: marginal cost, above 0.
        weight: power of the cost, 0 to 1.
    """
    return float(promise - weight * np.log(cost))


def together(
    chosen: Sequence[tuple[Params, Sequence[Need]]], account: Account
) -> list[tuple[Params, Sequence[Need]]]:
    """Return points in an order in which those that share missing stages follow one another.

    After each point comes the one that shares the most missing stages with it, by expected cost;
    of several the one that was chosen first.
    """
    rest, ordered = list(chosen), list[tuple[Params, Sequence[Need]]]()
    while rest:
        last = {need.key for need in account.missing(ordered[-1][1])} if ordered else set[str]()
        shared = [
            sum(account.seconds(need) for need in account.missing(needs) if need.key in last)
            for _, needs in rest
        ]
        ordered.append(rest.pop(int(np.argmax(shared))))
    return ordered


def _cost(candidate: Priced) -> float:
    return candidate.cost
