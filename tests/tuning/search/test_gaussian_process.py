"""Tests of the Gaussian process beside its definition, one pair of points at a time."""

from __future__ import annotations

import numpy as np
import pytest
from wsss.platform.tuning.search.gaussian_process import GaussianProcess, loss, squares

THETA = np.array([-0.7, 0.2, -3.0])
CENTER, SPREAD = 0.4, 2.0


def kernel(a, b):
    d = np.sqrt(5 * sum(((p - q) / np.exp(t)) ** 2 for p, q, t in zip(a, b, THETA, strict=False)))
    return (1 + d + d * d / 3) * np.exp(-d)


def kernels(first, second):
    return np.array([[kernel(a, b) for b in second] for a in first])


@pytest.fixture
def data():
    """Return points, their values and the inverse covariance of the values."""
    random = np.random.default_rng(0)
    x, y = random.random((12, 2)), random.random(12)
    return x, y, np.linalg.inv(kernels(x, x) + np.exp(THETA[-1]) * np.eye(12))


def test_the_process_predicts_as_its_definition_says(data):
    x, y, inverse = data
    new = np.random.default_rng(1).random((5, 2))
    between = kernels(x, new)
    mean, deviation = GaussianProcess(x, y, CENTER, SPREAD, THETA).predict(new)
    np.testing.assert_allclose(mean, CENTER + between.T @ inverse @ (y - CENTER), rtol=1e-7)
    variance = 1 - np.einsum("ij,ik,kj->j", between, inverse, between)
    np.testing.assert_allclose(deviation, SPREAD * np.sqrt(variance), rtol=1e-6)


@pytest.mark.parametrize("feature", [0, 1])
def test_the_dependence_is_the_mean_over_all_points_with_one_feature_moved(data, feature):
    x, y, inverse = data
    places = np.array([0.0, 0.4, 1.0])
    means, deviations = GaussianProcess(x, y, CENTER, SPREAD, THETA).dependence(feature, places)
    for place, mean, deviation in zip(places, means, deviations, strict=True):
        moved = x.copy()
        moved[:, feature] = place
        between = kernels(moved, x)
        assert mean == pytest.approx(CENTER + (between @ inverse @ (y - CENTER)).mean())
        covariance = kernels(moved, moved) - between @ inverse @ between.T
        assert deviation == pytest.approx(SPREAD * np.sqrt(covariance.mean()))


def test_the_gradient_is_that_of_small_steps(data):
    x, y, _ = data
    whole, gradient = loss(THETA, squares(x, x), y)
    for k, step in enumerate(1e-6 * np.eye(3)):
        further = loss(THETA + step, squares(x, x), y)[0]
        assert (further - whole) / 1e-6 == pytest.approx(gradient[k], rel=1e-3, abs=1e-4)


def test_a_fit_follows_the_values(data):
    x, _, _ = data
    y = np.sin(5 * x[:, 0])
    new, first = np.random.default_rng(1).random((5, 2)), GaussianProcess.fitted(x, y)
    further = first.with_expected(new)
    np.testing.assert_allclose(further.predict(x)[0], y, atol=0.2)
    assert (further.predict(new)[1] < first.predict(new)[1]).all()


def test_known_noise_is_not_fitted(data):
    x, _, _ = data
    y = 0.01 * np.sin(5 * x[:, 0])
    loud = GaussianProcess.fitted(x, y, noise=float(y.var()))
    assert np.exp(loud.theta[-1]) == pytest.approx(1)
    quiet = GaussianProcess.fitted(x, y, noise=0.0)
    assert np.abs(quiet.predict(x)[0] - y).max() < np.abs(loud.predict(x)[0] - y).max()
