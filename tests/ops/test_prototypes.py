"""Tests of platform.ops.prototypes against slow loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops.prototypes import cosine_maps, masked_average, unit

DTYPES = (torch.float16, torch.float32, torch.float64)
few_examples = settings(max_examples=30, deadline=None)


def random(seed, *shape, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def slow_average(features, masks):
    features, masks = features.double(), masks.double()
    out = torch.zeros(len(features), masks.shape[1], features.shape[1], dtype=torch.float64)
    for b in range(out.shape[0]):
        for n in range(out.shape[1]):
            weight = masks[b, n].sum().item()
            for d in range(out.shape[2]):
                total = sum(
                    features[b, d, y, x].item() * masks[b, n, y, x].item()
                    for y in range(masks.shape[2])
                    for x in range(masks.shape[3])
                )
                out[b, n, d] = total / weight if weight > 0 else 0.0
    return out


def slow_cosine(features, prototypes):
    features, prototypes = features.double(), prototypes.double()
    batch, _, height, width = features.shape
    out = torch.zeros(batch, prototypes.shape[1], height, width, dtype=torch.float64)
    for b in range(batch):
        for n in range(prototypes.shape[1]):
            p = prototypes[b, n].tolist()
            for y in range(height):
                for x in range(width):
                    f = features[b, :, y, x].tolist()
                    length = math.hypot(*f) * math.hypot(*p)
                    dot = sum(i * j for i, j in zip(f, p, strict=True))
                    out[b, n, y, x] = max(dot / length, 0.0) if length else 0.0
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_average_equals_slow_loops(dtype, tolerance):
    features = random(0, 2, 4, 3, 5, dtype=dtype)
    masks = random(1, 2, 3, 3, 5, dtype=dtype).clamp(min=0)
    masks[1, 2] = 0
    out = masked_average(features, masks)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(), slow_average(features, masks), atol=tolerance(dtype), rtol=0
    )


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64])
def test_masked_average_takes_hard_masks(kind):
    features = random(2, 1, 3, 4, 4)
    masks = (random(3, 1, 2, 4, 4) > 0).to(kind)
    torch.testing.assert_close(masked_average(features, masks), slow_average(features, masks))


@few_examples
@given(st.integers(0, 10**6), st.sampled_from(DTYPES))
def test_masked_average_of_an_empty_mask_is_zero(seed, dtype):
    features = random(seed, 2, 3, 2, 2, dtype=dtype)
    out = masked_average(features, torch.zeros(2, 4, 2, 2, dtype=dtype))
    assert torch.equal(out, torch.zeros(2, 4, 3, dtype=dtype))


@few_examples
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_masked_average_does_not_depend_on_the_masks_scale(seed, factor):
    features, masks = random(seed, 1, 3, 4, 4), random(seed + 1, 1, 2, 4, 4).abs()
    torch.testing.assert_close(
        masked_average(features, masks * factor), masked_average(features, masks)
    )


def test_masked_average_over_a_large_half_precision_map_is_exact():
    """The map has more positions than half precision can count (65504)."""
    features = torch.ones(1, 2, 300, 300, dtype=torch.float16)
    out = masked_average(features, torch.ones(1, 1, 300, 300, dtype=torch.float16))
    assert torch.equal(out, torch.ones(1, 1, 2, dtype=torch.float16))


def test_masked_average_of_a_faint_half_precision_mask_is_exact():
    features = torch.full((1, 2, 2, 2), 3.0, dtype=torch.float16)
    out = masked_average(features, torch.full((1, 1, 2, 2), 3e-7, dtype=torch.float16))
    assert torch.equal(out, torch.full((1, 1, 2), 3.0, dtype=torch.float16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cosine_maps_equal_slow_loops(dtype, tolerance):
    features, prototypes = random(4, 2, 5, 3, 4, dtype=dtype), random(5, 2, 3, 5, dtype=dtype)
    prototypes[0, 1] = 0
    features[1, :, 2, 3] = 0
    out = cosine_maps(features, prototypes)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(), slow_cosine(features, prototypes), atol=tolerance(dtype), rtol=0
    )


@few_examples
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_cosine_maps_do_not_depend_on_length(seed, of_feature, of_prototype):
    features, prototypes = random(seed, 1, 4, 2, 3), random(seed + 1, 1, 2, 4)
    torch.testing.assert_close(
        cosine_maps(features * of_feature, prototypes * of_prototype),
        cosine_maps(features, prototypes),
    )


@few_examples
@given(st.integers(0, 10**6), st.sampled_from(DTYPES))
def test_zero_prototype_and_zero_feature_give_zero(seed, dtype):
    features, prototypes = random(seed, 1, 4, 2, 3, dtype=dtype), random(seed, 1, 2, 4, dtype=dtype)
    prototypes[0, 0] = 0
    features[0, :, 1, 1] = 0
    out = cosine_maps(features, prototypes)
    assert torch.isfinite(out).all()
    assert not out[0, 0].any()
    assert not out[0, :, 1, 1].any()
    assert out.max() <= 1.01


@few_examples
@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.sampled_from((0, 1, -1)))
def test_unit_has_length_one_or_zero(seed, dtype, dim):
    vectors = random(seed, 3, 4, 5, dtype=dtype)
    vectors.select(2 if dim != -1 else 1, 0).zero_()
    out = unit(vectors, dim)
    assert out.dtype == dtype
    length = out.double().norm(dim=dim)
    zero = vectors.double().norm(dim=dim) == 0
    assert zero.any()
    assert not length[zero].any()
    torch.testing.assert_close(length[~zero], torch.ones_like(length[~zero]), atol=4e-3, rtol=0)


def test_gradients_stay_finite_at_zero():
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    prototypes = torch.zeros(1, 2, 3, requires_grad=True)
    cosine_maps(features, prototypes).sum().backward()
    masked_average(features, torch.zeros(1, 1, 2, 2)).sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(prototypes.grad).all()
