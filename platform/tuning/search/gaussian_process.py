"""Regression by a Gaussian process, and the logarithm of its expected improvement.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, Algorithm 2.1; the
prior of the length scales from Hvarfner et al., ICML 2024; the logarithm of the expected
improvement from Ament et al., NeurIPS 2023.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]

LOG_NOISE = (-4.0, 1.0)
"""Mean and deviation of the prior of the logarithm of the noise's variance."""
NOISE_BOUNDS = (-12.0, 0.0)
SCALE_BOUNDS = (-3.0, 5.0)
"""Lowest and highest logarithm of the noise's variance, and of a length scale."""
STARTS = (None, -1.0)
"""Logarithms of the length scales from which the fit starts; None: the mean of their prior."""


def matern(squares: Array) -> Array:
    """Return the Matern 5/2 kernel of squared scaled distances."""
    s = np.sqrt(5 * squares)
    return np.asarray((1 + s + s * s / 3) * np.exp(-s))


def squares(first: Array, second: Array) -> Array:
    """Return the squared differences of rows `[n, F]` and `[m, F]` as `[F, n, m]`."""
    return np.asarray((first.T[:, :, None] - second.T[:, None, :]) ** 2)


class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel and a constant mean.

    Args:
        x: points `[n, F]`, with features from 0 to 1.
        y: values `[n]`.
        center: mean of the process.
        spread: standard deviation of the process.
        theta: logarithms of the length scales `[F]` and of the noise's variance, `[F + 1]`.
    """

    def __init__(self, x: Array, y: Array, center: float, spread: float, theta: Array) -> None:
        from scipy.linalg import cho_solve

        self.x, self.y, self.center, self.spread, self.theta = x, y, center, spread, theta
        self.factor = _factor(squares(x, x), theta)[0]
        self.weights = cho_solve((self.factor, True), (y - center) / spread)

    @classmethod
    def fitted(cls, x: Array, y: Array, noise: float | None = None) -> GaussianProcess:
        """Return the process that fits values best, of which at least two differ.

        Its mean and deviation are those of the values; the length scales and the noise have the
        highest posterior density.

        Args:
            x: points `[n, F]`, with features from 0 to 1.
            y: values `[n]`.
            noise: variance of a value's noise, if it is known.
        """
        center, spread = float(y.mean()), float(y.std())
        known = None if noise is None else noise / spread**2
        return cls(x, y, center, spread, best_theta(x, (y - center) / spread, known))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation `[m]` of the noise-free value at points `[m, F]`."""
        from scipy.linalg import solve_triangular

        between = matern(np.tensordot(np.exp(-2 * self.theta[:-1]), squares(self.x, x), 1))
        mean = between.T @ self.weights
        half = solve_triangular(self.factor, between, lower=True)
        variance = np.maximum(1 - (half * half).sum(0), 1e-12)
        mean = self.center + self.spread * mean
        deviation = self.spread * np.sqrt(variance)
        return mean, deviation

    def dependence(self, feature: int, places: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation `[m]` of the partial dependence on a feature.

        The dependence at a place is the mean of the noise-free value over all points with this one
        feature moved to the place (Friedman, Annals of Statistics, 2001); the covariance of the
        process gives its deviation (Moosbauer et al., NeurIPS 2021).

        Args:
            feature: number of the feature.
            places: values `[m]` of the feature, from 0 to 1.
        """
        from scipy.linalg import solve_triangular

        scales = np.exp(-2 * self.theta[:-1])
        others = np.delete(self.x, feature, axis=1)
        rest = np.tensordot(np.delete(scales, feature), squares(others, others), 1)
        steps = scales[feature] * (places[:, None] - self.x[:, feature]) ** 2
        between = np.stack([matern(rest + step).mean(0) for step in steps])
        half = solve_triangular(self.factor, between.T, lower=True)
        variance = np.maximum(matern(rest).mean() - (half * half).sum(0), 0.0)
        mean = self.center + self.spread * (between @ self.weights)
        deviation = self.spread * np.sqrt(variance)
        return mean, deviation

    def with_expected(self, x: Array) -> GaussianProcess:
        """Return the process as if points `[m, F]` had the values that it expects of them."""
        x, y = np.concatenate([self.x, x]), np.concatenate([self.y, self.predict(x)[0]])
        return GaussianProcess(x, y, self.center, self.spread, self.theta)


def _factor(pairs: Array, theta: Array) -> tuple[Array, Array]:
    """Return the Cholesky factor of the covariance of noisy values, and the scaled squares."""
    scaled = np.exp(-2 * theta[:-1])[:, None, None] * pairs
    covariance = matern(scaled.sum(0))
    covariance[np.diag_indices_from(covariance)] += math.exp(theta[-1]) + 1e-10
    return np.linalg.cholesky(covariance), scaled


def loss(theta: Array, pairs: Array, y: Array) -> tuple[float, Array]:
    """Return the negative log posterior density of hyperparameters, and its gradient.

    Args:
        theta: logarithms of the length scales and of the noise's variance, `[F + 1]`.
        pairs: squared differences of the points, `[F, n, n]`.
        y: standardized values `[n]`.
    """
    from scipy.linalg import cho_solve

    factor, scaled = _factor(pairs, theta)
    weights = cho_solve((factor, True), y)
    inner = cho_solve((factor, True), np.eye(len(y))) - np.outer(weights, weights)
    s = np.sqrt(5 * scaled.sum(0))
    slope = 5 / 3 * (1 + s) * np.exp(-s)
    gradient = np.append(
        0.5 * np.einsum("ij,fij->f", inner * slope, scaled),
        0.5 * math.exp(theta[-1]) * np.trace(inner),
    )
    mean, deviation = _prior(len(theta) - 1)
    z = (theta - mean) / deviation
    value = 0.5 * float(y @ weights) + float(np.log(np.diag(factor)).sum()) + 0.5 * float(z @ z)
    return value, gradient + z / deviation


def _prior(features: int) -> tuple[Array, Array]:
    """Return mean and standard deviation of the normal prior of hyperparameters, `[F + 1]`."""
    scale = math.sqrt(2) + 0.5 * math.log(features)
    return (
        np.array([scale] * features + [LOG_NOISE[0]]),
        np.array([math.sqrt(3)] * features + [LOG_NOISE[1]]),
    )


def best_theta(x: Array, y: Array, noise: float | None = None) -> Array:
    """Return the hyperparameters with the highest posterior density, by L-BFGS from STARTS.

    Args:
        x: points `[n, F]`.
        y: standardized values `[n]`.
        noise: variance of the noise, if it is known.
    """
    from scipy.optimize import minimize

    pairs, features = squares(x, x), x.shape[1]
    mean, _ = _prior(features)
    noise_bounds = NOISE_BOUNDS
    if noise is not None:
        mean[-1] = np.clip(np.log(max(noise, 1e-300)), *NOISE_BOUNDS)
        noise_bounds = (mean[-1], mean[-1])
    minima: list[Any] = []
    for start in STARTS:
        first = mean.copy()
        first[:-1] = mean[:-1] if start is None else start
        bounds = [SCALE_BOUNDS] * features + [noise_bounds]
        minima.append(minimize(loss, first, (pairs, y), "L-BFGS-B", jac=True, bounds=bounds))
    return np.asarray(min(minima, key=lambda result: float(result.fun)).x)


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return the logarithm of the expected improvement over a best value, for maximization.

    Args:
        mean: expected values.
        deviation: standard deviations of the values, above 0.
        best: the best value so far.
    """
    from scipy.special import erfcx, log_ndtr

    z = (mean - best) / deviation
    log_density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near = np.maximum(z, -1.0)
    close = np.log(np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi) + near * np.exp(log_ndtr(near)))
    below = np.clip(-z, 1.0, 1e3)
    ratio = below * math.sqrt(math.pi / 2) * erfcx(below / math.sqrt(2))
    far = log_density + np.log1p(-ratio)
    distant = log_density - 2 * np.log(np.maximum(-z, 1.0))
    return np.asarray(np.log(deviation) + np.where(z > -1, close, np.where(z > -1e3, far, distant)))
