"""Tests of the permutohedral lattice against a slow one in float64 and against exact kernels."""

from __future__ import annotations

import numpy as np
import pytest
import slow_lattice
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops.crf import permutohedral
from wsss.platform.ops.crf.permutohedral import Lattice


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, shape))


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 6), positions=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_lattice_is_the_slow_lattice(width, positions, seed):
    features, values = normal(1, positions, width, seed=seed), normal(positions, 3, seed=seed + 1)
    expected = slow_lattice.filtered(features[0].numpy(), values.numpy())
    np.testing.assert_allclose(Lattice(features).filter(values), expected, atol=1e-9)
    single = Lattice(features.float()).filter(values.float())
    np.testing.assert_allclose(single, expected, atol=1e-4)


@pytest.mark.parametrize("width", [2, 5])
def test_positions_are_scaled_with_the_roundings_of_pydensecrf(width):
    """On faces of simplices the last bit decides which corners the lattice has."""
    features = normal(200, width).float().numpy()
    deviation = np.float32(np.sqrt(2 / 3) * (width + 1))
    expected = np.zeros((width + 1, 200), np.float32)
    for axis in range(width, 0, -1):
        factor = np.float32(1 / np.sqrt((axis + 1) * axis) * np.float64(deviation))
        scaled = features[:, axis - 1] * factor
        expected[axis] = expected[0] - np.float32(axis) * scaled
        expected[0] += scaled
    raised = permutohedral._raised(torch.from_numpy(features)).numpy()
    assert (raised == expected).all()


def test_positions_on_faces_and_corners_of_simplices_are_filtered():
    grid = torch.cartesian_prod(*[torch.arange(5.0)] * 2)[None]
    lattice = Lattice(grid)
    torch.testing.assert_close(lattice.slice_weights.sum(1), torch.ones(25))
    assert lattice.slice_weights.min() > -1e-6
    sums = lattice.filter(torch.ones(25, 1)).view(5, 5)
    assert sums.isfinite().all()
    assert sums[2, 2] == sums.max()


def test_images_of_a_batch_do_not_touch_each_other():
    features, values = normal(3, 40, 5).float(), normal(3, 40, 2).float()
    features[1] = features[0]
    together = Lattice(features).filter(values.flatten(0, 1)).view(3, 40, 2)
    for number in range(3):
        alone = Lattice(features[number : number + 1]).filter(values[number])
        torch.testing.assert_close(together[number], alone)


def test_the_normalised_filter_is_a_symmetric_matrix():
    features = normal(1, 30, 2)
    plain, scaled = Lattice(features), Lattice(features)
    scaled.normalize(3.0)
    matrix, symmetric = plain.filter(torch.eye(30).double()), scaled.filter(torch.eye(30).double())
    roots = matrix.sum(1).sqrt()
    torch.testing.assert_close(symmetric, 3 * matrix / roots[:, None] / roots)


def test_the_filter_is_nearly_gaussian():
    features = normal(1, 400, 2) / 2
    values = normal(400, 1)
    distance = ((features[0, :, None] - features[0, None]) ** 2).sum(-1)
    exact = torch.exp(-distance / 2)
    out, expected = Lattice(features).filter(values), exact @ values
    scale = Lattice(features).filter(torch.ones(400, 1).double()) / exact.sum(1, keepdim=True)
    error = (out / scale.mean() - expected).abs().mean() / expected.abs().mean()
    assert error < 0.1


@pytest.mark.parametrize("bytes_", [1, 7])
def test_columns_filtered_in_parts_are_those_filtered_at_once(monkeypatch, bytes_):
    features, values = normal(1, 50, 5).float(), normal(50, 7).float()
    lattice = Lattice(features)
    whole = lattice.filter(values)
    monkeypatch.setattr(permutohedral, "BLUR_BYTES", bytes_)
    torch.testing.assert_close(lattice.filter(values), whole)


def test_features_of_too_wide_a_range_are_refused():
    features = normal(1, 50, 5) * 1e6
    with pytest.raises(ValueError, match="filter with larger standard deviations"):
        Lattice(features)
