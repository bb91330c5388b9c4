"""Tests that functions compute in float32 at least, on half precision and under autocast.

Results are compared with those of the same functions in float64, which the functions' own tests
compare with slow loops.
"""

from __future__ import annotations

import pytest
import torch
from wsss.methods.cpal import CPAL, Bank, CPALConfig
from wsss.methods.cpal import method as cpal
from wsss.methods.psdpm import propagate
from wsss.methods.sipe import structure_seeds
from wsss.methods.ssc import region_mean
from wsss.platform.models.classifier import soft_margin
from wsss.platform.ops.pairwise import similar_values
from wsss.platform.ops.precision import wide_type
from wsss.platform.ops.prototypes import cosine_maps, masked_average

HALVES = (torch.float16, torch.bfloat16)
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""The largest relative error of rounding once."""


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine_to_context(features, anchor, context):
    return cpal.prototype_aware_map(features, anchor, context, top_k=3, temperature=0.05)


def similar_by(similarity):
    def values(maps, correlation, inside):
        return similar_values(maps, correlation, similarity, (inside > 0.5).to(inside))

    return values


FUNCTIONS = {
    "average": (masked_average, noise(0, 2, 5, 70, 60), shares(1, 2, 3, 70, 60)),
    "cosine": (cosine_maps, noise(2, 2, 96, 8, 9), noise(3, 2, 4, 96)),
    "seeds": (structure_seeds, noise(4, 1, 8, 24, 24), shares(5, 1, 4, 24, 24)),
    "propagate": (propagate, shares(6, 2, 3, 24, 24), noise(7, 2, 8, 24, 24)),
    "similar by cosine": (
        similar_by("cosine"),
        shares(8, 2, 3, 24, 24),
        noise(9, 2, 8, 24, 24),
        shares(10, 2, 1, 24, 24),
    ),
    "similar by area": (
        similar_by("area"),
        shares(11, 2, 3, 24, 24),
        noise(12, 2, 8, 24, 24),
        shares(13, 2, 1, 24, 24),
    ),
    "shift": (cpal.shift, 10 + noise(14, 9, 64), 10 + noise(15, 7, 64)),
    "positiveness": (
        lambda *x: cpal.positiveness(*x, 0.5),
        noise(16, 96),
        noise(17, 6, 96),
    ),
    "prototypes": (
        cosine_to_context,
        noise(18, 96, 6, 7),
        noise(19, 96) / 4,
        noise(20, 5, 96) / 4,
    ),
}


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_on_half_precision_only_the_result_is_rounded(name, kind):
    function, *inputs = FUNCTIONS[name]
    halves = [x.to(kind) for x in inputs]
    result, exact = function(*halves), function(*(x.double() for x in halves))
    assert result.dtype == kind
    limit = 1.001 * ROUNDING[kind]
    torch.testing.assert_close(result.double(), exact, rtol=limit, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_lowers_no_product(name):
    function, *inputs = FUNCTIONS[name]
    singles = [x.float() for x in inputs]
    expected = function(*singles)
    with torch.autocast("cpu", torch.bfloat16):
        result = function(*singles)
    assert torch.equal(result, expected)
    exact = function(*(x.double() for x in singles))
    torch.testing.assert_close(result.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", HALVES)
def test_a_large_superpixel_of_half_precision_has_its_mean(kind):
    """It has more positions than float16 can count (65504), and sums in bfloat16 end at 256."""
    maps = shares(21, 2, 3, 280, 280).to(kind)
    ids = torch.zeros(2, 280, 280, dtype=torch.long)
    ids[:, :20] = 1
    result = region_mean(maps, ids)
    assert result.dtype == kind
    for image, planes in zip(result, maps.double(), strict=True):
        for rows in (slice(0, 20), slice(20, None)):
            mean = planes[:, rows].mean((1, 2), keepdim=True).expand_as(planes[:, rows])
            torch.testing.assert_close(
                image[:, rows].double(), mean, rtol=1.01 * ROUNDING[kind], atol=0
            )


def test_scores_in_half_precision_are_averaged_in_float32():
    scores, labels = (10 + noise(22, 2, 3, 30, 30)).bfloat16(), torch.eye(3)[:2]
    exact = torch.nn.functional.multilabel_soft_margin_loss(
        scores.double().mean((2, 3)), labels.double()
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = soft_margin(scores, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_the_map_from_context_of_a_bank_is_exact_under_autocast():
    bank = Bank(3, 96, 5, 5)
    bank.context[:] = noise(23, 3, 5, 96)
    bank.found[:] = 5
    features, anchors = noise(24, 2, 96, 4, 4).float(), noise(25, 2, 3, 96).float()
    read, method = torch.ones(2, 3, dtype=torch.bool), CPAL(CPALConfig(temperature=0.5))
    with torch.autocast("cpu", torch.bfloat16):
        result = method._aware(bank, features, anchors, read)
    exact = method._aware(bank, features.double(), anchors.double(), read)
    torch.testing.assert_close(result.double(), exact, rtol=1e-4, atol=1e-5)


def test_the_wide_type_is_the_common_type_or_float32():
    half, single, double = (torch.zeros(1, dtype=getattr(torch, f"float{n}")) for n in (16, 32, 64))
    assert wide_type(half, half.bfloat16()) == wide_type(single) == torch.float32
    assert wide_type(half, double) == torch.float64
