"""Tests of platform.ops.pairwise against loops over all pairs in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from wsss.platform.ops import pairwise

SHAPE = (2, 5, 7)  # B, D, P
MOST = 1 << 24
KNOWN = torch.ones(2, 1, 7)
KNOWN[0, :, 5:] = 0


def means(features, values):
    return pairwise.similarity_means(features, values, KNOWN)


def slow_sums(features, values):
    features, values = features.double(), values.double()
    out = torch.zeros_like(values)
    for b in range(len(values)):
        for i in range(values.shape[2]):
            for j in range(values.shape[2]):
                weight = max(0.0, float(features[b, :, i] @ features[b, :, j]))
                out[b, :, i] += weight * values[b, :, j]
    return out


def slow_means(features, values):
    features, values = features.double(), values.double()
    out = torch.zeros_like(values)
    for b in range(len(values)):
        counted = [j for j in range(values.shape[2]) if KNOWN[b, 0, j]]
        for i in range(values.shape[2]):
            weights = [math.exp(float(features[b, :, i] @ features[b, :, j])) for j in counted]
            for j, weight in zip(counted, weights, strict=True):
                out[b, :, i] += weight / sum(weights) * values[b, :, j]
    return out


both = pytest.mark.parametrize(
    ("fast", "slow"), [(pairwise.similarity_sums, slow_sums), (means, slow_means)]
)


def drawn(dtype):
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(SHAPE, generator=generator, dtype=torch.float64), dim=1)
    features[1, :, 3] = 0
    values = torch.rand(2, 3, SHAPE[2], generator=generator, dtype=torch.float64)
    return features.to(dtype), values.to(dtype)


@both
@pytest.mark.parametrize("pairs", [1, 30, 2 * 7 * 3, MOST])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("learns", [False, True])
def test_results_equal_slow_loops_however_many_pairs_fit(
    fast, slow, pairs, dtype, learns, monkeypatch
):
    monkeypatch.setattr(pairwise, "MOST_PAIRS", pairs)
    features, values = drawn(dtype)
    with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16):
        result = fast(features, values)
    assert result.dtype == dtype
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(result.double(), slow(features, values), atol=tolerance, rtol=0)


@both
@pytest.mark.parametrize("pairs", [1, 30])
def test_gradients_equal_those_of_all_pairs_at_once(fast, slow, pairs, monkeypatch):
    gradients = []
    for most in (pairs, MOST):
        monkeypatch.setattr(pairwise, "MOST_PAIRS", most)
        features, values = (x.requires_grad_() for x in drawn(torch.float64))
        fast(features, values).square().sum().backward()
        gradients.append((features.grad, values.grad))
    torch.testing.assert_close(*gradients)


def test_without_known_positions_all_count_the_same():
    features, values = drawn(torch.float64)
    result = pairwise.similarity_means(features, values, torch.zeros(2, 1, 7))
    torch.testing.assert_close(result, values.mean(2, keepdim=True).expand_as(values))


@pytest.mark.parametrize("softmax", [False, True])
def test_the_backward_pass_keeps_no_pairs(softmax, monkeypatch):
    """The tensors that autograd saves do not grow with the square of the positions."""
    monkeypatch.setattr(pairwise, "MOST_PAIRS", 64)
    largest = 0

    def pack(x):
        nonlocal largest
        largest = max(largest, x.numel())
        return x

    features = torch.randn(1, 4, 200, requires_grad=True)
    values = torch.rand(1, 2, 200)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        if softmax:
            pairwise.similarity_means(features, values, torch.ones(1, 1, 200))
        else:
            pairwise.similarity_sums(features, values)
    assert 0 < largest <= 200 * 4
