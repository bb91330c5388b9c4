"""platform.ops.alike against a loop over all pairs in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from wsss.platform.ops import alike

SHAPE = (2, 5, 7)  # B, D, P


def slow(features, values):
    features, values = features.double(), values.double()
    out = torch.zeros_like(values)
    for b in range(len(values)):
        for i in range(values.shape[2]):
            for j in range(values.shape[2]):
                weight = max(0.0, float(features[b, :, i] @ features[b, :, j]))
                out[b, :, i] += weight * values[b, :, j]
    return out


def drawn(dtype):
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(SHAPE, generator=generator, dtype=torch.float64), dim=1)
    features[1, :, 3] = 0
    values = torch.rand(2, 3, SHAPE[2], generator=generator, dtype=torch.float64)
    return features.to(dtype), values.to(dtype)


@pytest.mark.parametrize("pairs", [1, 30, 2 * 7 * 3, 1 << 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_the_slow_way_however_many_pairs_fit(pairs, dtype, monkeypatch):
    monkeypatch.setattr(alike, "PAIRS", pairs)
    features, values = drawn(dtype)
    found = alike.alike_sums(features, values)
    torch.testing.assert_close(found.double(), slow(features, values), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pairs", [1, 30])
def test_gradients_are_those_of_all_pairs_at_once(pairs, monkeypatch):
    found = []
    for most in (pairs, 1 << 24):
        monkeypatch.setattr(alike, "PAIRS", most)
        features, values = (x.requires_grad_() for x in drawn(torch.float64))
        alike.alike_sums(features, values).square().sum().backward()
        found.append((features.grad, values.grad))
    torch.testing.assert_close(*found)


def test_the_way_back_keeps_no_pairs(monkeypatch):
    """What autograd saves does not grow with the square of the positions."""
    monkeypatch.setattr(alike, "PAIRS", 64)
    largest = 0

    def pack(x):
        nonlocal largest
        largest = max(largest, x.numel())
        return x

    features = torch.randn(1, 4, 200, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        alike.alike_sums(features, torch.rand(1, 2, 200))
    assert 0 < largest <= 200 * 4
