"""Partial dependence of a sweep's objective on one parameter, by a Gaussian process over all."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...platform.records.schema import Trial
from ...platform.tuning.ranking import point_key
from ...platform.tuning.search.gaussian_process import GaussianProcess
from ..labels import are_numbers, is_done, objective, value_of

FEW_VALUES = 12
"""Most distinct values with which a numeric parameter is treated as categorical."""
LEAST_TRIALS, MOST_TRIALS = 8, 200
"""Fewest trials of a process; most trials, beyond which it takes a part of them."""
POSITIONS = 41
"""Number of values at which a curve is computed."""
Floats = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Partial dependence at the values `x`, in the objective's unit."""

    x: Floats
    mean: Floats
    deviation: Floats


def is_continuous(done: Sequence[Trial], name: str) -> bool:
    """Return whether a parameter has more than `FEW_VALUES` numbers as values in trials."""
    values = [value_of(t, name) for t in done if name in t.params]
    return are_numbers(values) and len(set(values)) > FEW_VALUES


def is_logarithmic(domain: object) -> bool:
    """Return whether a recorded domain draws numbers by their logarithm."""
    return isinstance(domain, Mapping) and any("log" in str(kind) for kind in domain)


def seed_variance(trials: Sequence[Trial]) -> float | None:
    """Return the variance of the objective over random seeds, pooled over all points.

    Returns:
        The variance; None where no point has finished trials with several random seeds.
    """
    by_point: dict[str, dict[int, float]] = {}
    for trial in filter(is_done, trials):
        by_point.setdefault(point_key(trial.params), {})[trial.seed] = objective(trial)
    repeated = [[*by_seed.values()] for by_seed in by_point.values() if len(by_seed) > 1]
    if not repeated:
        return None
    squares = sum((len(v) - 1) * statistics.variance(v) for v in repeated)
    return squares / sum(len(v) - 1 for v in repeated)


def partial_dependences(
    trials: Sequence[Trial], names: Sequence[str], logarithmic: Collection[str] = ()
) -> dict[str, Curve]:
    """Return the partial dependence of the objective on each continuous parameter.

    Args:
        trials: trials of a sweep; those that did not finish are left out.
        names: parameters that all of them have.
        logarithmic: parameters that are drawn by their logarithm.

    Returns:
        The curves; none of fewer than `LEAST_TRIALS` trials, or where all have one result.
    """
    done = [t for t in trials if is_done(t)]
    noise = seed_variance(done)
    done = done[:: max(1, -(-len(done) // MOST_TRIALS))]
    values = np.array([objective(t) for t in done])
    continuous = [name for name in names if is_continuous(done, name)]
    if len(done) < LEAST_TRIALS or not continuous or not np.ptp(values):
        return {}
    axes = {name: _Axis.of(done, name, name in logarithmic) for name in continuous}
    others = [column for n in names if n not in axes for column in _columns(done, n)]
    columns = [*(axis.positions for axis in axes.values()), *others]
    process = GaussianProcess.fitted(np.stack(columns, 1), values, noise)
    positions = np.linspace(0, 1, POSITIONS)
    return {
        name: Curve(axis.numbers(positions), *process.dependence(feature, positions))
        for feature, (name, axis) in enumerate(axes.items())
    }


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Positions of trials from 0 to 1, linear in a parameter or in its logarithm."""

    positions: Floats
    low: float
    span: float
    logarithmic: bool

    @classmethod
    def of(cls, done: Sequence[Trial], name: str, logarithmic: bool) -> _Axis:
        """Return the axis of a numeric parameter."""
        numbers = np.array([float(value_of(t, name)) for t in done])
        numbers = np.log(numbers) if logarithmic else numbers
        low, span = float(numbers.min()), float(np.ptp(numbers)) or 1.0
        return cls((numbers - low) / span, low, span, logarithmic)

    def numbers(self, positions: Floats) -> Floats:
        """Return the parameter's numbers at positions."""
        numbers = self.low + self.span * positions
        return np.asarray(np.exp(numbers) if self.logarithmic else numbers)


def _columns(done: Sequence[Trial], name: str) -> list[Floats]:
    """Return a parameter of few values as features of trials; each text has one of its own."""
    values = [value_of(t, name) for t in done]
    if are_numbers(values):
        return [_Axis.of(done, name, False).positions]
    texts = np.array([repr(v) for v in values])
    return [np.asarray(texts == text, np.float64) for text in dict.fromkeys(texts)]
