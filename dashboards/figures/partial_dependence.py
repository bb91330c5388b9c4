"""Partial dependence of a sweep's objective on one parameter, by a Gaussian process over all.

The dependence at a value is the mean prediction over all trials with this one parameter set to the
value (Friedman, Annals of Statistics, 2001). The covariance of the process gives its standard
deviation (Moosbauer et al., NeurIPS 2021).
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from ...platform.records.schema import Trial
from ..labels import are_numbers, is_done, objective, value_of

FEW_VALUES = 12
"""Most distinct values with which a numeric parameter is treated as categorical."""
LEAST_TRIALS, MOST_TRIALS = 8, 200
"""Fewest trials of a process; most trials, beyond which it takes a part of them."""
PLACES = 41
"""Number of values at which a curve is computed."""
LENGTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Length scales of a parameter, in ranges of its values; the likelihood chooses."""
NOISES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of the objective's variance that are noise; without repeats, the likelihood chooses."""
ROUNDS = 2
"""Rounds in which the length scale of each parameter is chosen anew."""
Floats = NDArray[np.float64]


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
    by_point: dict[str, list[float]] = {}
    for trial in filter(is_done, trials):
        key = json.dumps(trial.params, sort_keys=True)
        by_point.setdefault(key, []).append(objective(trial))
    repeated = [values for values in by_point.values() if len(values) > 1]
    if not repeated:
        return None
    squares = sum((len(v) - 1) * statistics.variance(v) for v in repeated)
    return squares / sum(len(v) - 1 for v in repeated)


@dataclasses.dataclass(frozen=True)
class Process:
    """Gaussian process with a squared exponential kernel, given the results of trials.

    Attributes:
        positions: positions `[P]` of the P trials from 0 to 1, by continuous parameter.
        distances: squared distances `[P, P]` of the trials, by parameter.
        values: results `[P]`, with mean 0 and variance 1.
        lengths: length scale by parameter.
        noise: variance of the noise; that of the process is 1.
    """

    positions: Mapping[str, Floats]
    distances: Mapping[str, Floats]
    values: Floats
    lengths: Mapping[str, float]
    noise: float

    def kernel(self, without: str = "") -> Floats:
        """Return the covariances `[P, P]` by all parameters, or by all except one."""
        exponents = np.zeros((len(self.values), len(self.values)))
        for name, squares in self.distances.items():
            if name != without:
                exponents += squares / self.lengths[name] ** 2
        return np.asarray(np.exp(-exponents / 2))

    def factor(self) -> Floats:
        """Return the lower Cholesky factor of the covariances with noise."""
        matrix = self.kernel() + self.noise * np.eye(len(self.values))
        return np.asarray(linalg.cholesky(matrix, lower=True))

    def likelihood(self) -> float:
        """Return the logarithm of the likelihood of the results, up to a constant."""
        factor = self.factor()
        explained = linalg.cho_solve((factor, True), self.values)
        return float(-self.values @ explained / 2 - np.log(np.diag(factor)).sum())

    def dependence(self, name: str, places: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the dependence on a continuous parameter.

        Args:
            name: the parameter.
            places: positions `[M]` at which the dependence is returned.
        """
        factor, rest = self.factor(), self.kernel(without=name)
        steps = (places[:, None] - self.positions[name]) / self.lengths[name]
        covariances = np.exp(-(steps**2) / 2) * rest.mean(0)  # [M, P]
        mean = covariances @ linalg.cho_solve((factor, True), self.values)
        known = (covariances.T * linalg.cho_solve((factor, True), covariances.T)).sum(0)
        return mean, np.sqrt(np.maximum(rest.mean() - known, 0.0))


def fit(process: Process, noises: Sequence[float]) -> Process:
    """Return the process with likely length scales and one of the noises, from a first guess."""
    for _ in range(ROUNDS):
        for name in process.lengths:
            lengths = [{**process.lengths, name: length} for length in LENGTHS]
            process = _likeliest(dataclasses.replace(process, lengths=each) for each in lengths)
        process = _likeliest(dataclasses.replace(process, noise=noise) for noise in noises)
    return process


def _likeliest(candidates: Iterable[Process]) -> Process:
    return max(candidates, key=Process.likelihood)


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
    done = done[:: max(1, -(-len(done) // MOST_TRIALS))]
    values = np.array([objective(t) for t in done])
    continuous = [name for name in names if is_continuous(done, name)]
    if len(done) < LEAST_TRIALS or not continuous or not np.ptp(values):
        return {}
    axes = {name: _Axis.of(done, name, name in logarithmic) for name in continuous}
    positions = {name: axis.positions for name, axis in axes.items()}
    squares = {name: (p[:, None] - p) ** 2 for name, p in positions.items()}
    squares |= {name: _distances(done, name) for name in names if name not in positions}
    noise, lengths = seed_variance(done), dict.fromkeys(names, 1.0)
    noises = NOISES if noise is None else (max(noise / values.var(), NOISES[0]),)
    scaled = (values - values.mean()) / values.std()
    process = fit(Process(positions, squares, scaled, lengths, noises[-1]), noises)
    places = np.linspace(0, 1, PLACES)
    curves = {}
    for name, axis in axes.items():
        mean, deviation = process.dependence(name, places)
        mean, deviation = values.mean() + values.std() * mean, values.std() * deviation
        curves[name] = Curve(axis.numbers(places), mean, deviation)
    return curves


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

    def numbers(self, places: Floats) -> Floats:
        """Return the parameter's numbers at positions."""
        numbers = self.low + self.span * places
        return np.asarray(np.exp(numbers) if self.logarithmic else numbers)


def _distances(done: Sequence[Trial], name: str) -> Floats:
    """Return the squared distances of trials in a parameter; different texts have distance 1."""
    values = [value_of(t, name) for t in done]
    if are_numbers(values):
        positions = _Axis.of(done, name, False).positions
        return np.asarray((positions[:, None] - positions) ** 2)
    texts = np.array([repr(v) for v in values])
    return np.asarray(texts[:, None] != texts, np.float64)
