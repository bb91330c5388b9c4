"""Tests of LPCAM: the formulas of the paper against loops, and the fallbacks."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.methods.lpcam import LPCAM, LPCAMConfig, class_scores, local_prototype_maps
from wsss.platform.errors import InputError
from wsss.platform.method import Centers, build_experiment

DTYPES = {torch.float16: 4e-3, torch.float32: 1e-5, torch.float64: 1e-12}
few_examples = settings(max_examples=30, deadline=None)


def random(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def cosine(a, b):
    length = math.hypot(*a) * math.hypot(*b)
    return sum(i * j for i, j in zip(a, b, strict=True)) / length if length else 0.0


def slow_maps(features, foreground, context):
    batch, _, height, width = features.shape
    out = torch.zeros(batch, height, width, dtype=torch.float64)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                f = features[b, :, y, x].tolist()
                value = sum(cosine(f, p) for p in foreground.tolist()) / len(foreground)
                if len(context):
                    value -= sum(cosine(f, p) for p in context.tolist()) / len(context)
                    value = max(value, 0.0)
                out[b, y, x] = value
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_scores_equal_slow_loops(dtype):
    centers, classifier = random(0, 5, 4, dtype=dtype), random(1, 3, 4, dtype=dtype)
    out = class_scores(centers, classifier)
    assert out.dtype == dtype
    for k, center in enumerate(centers.tolist()):
        logits = [sum(i * j for i, j in zip(center, w, strict=True)) for w in classifier.tolist()]
        total = sum(map(math.exp, logits))
        for n, logit in enumerate(logits):
            assert abs(out[k, n].item() - math.exp(logit) / total) < DTYPES[dtype]


@few_examples
@given(st.integers(0, 10**6), st.floats(0, 1e6))
def test_class_scores_sum_to_one(seed, scale):
    out = class_scores(random(seed, 4, 6) * scale, random(seed + 1, 3, 6))
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out.sum(1), torch.ones(4, dtype=torch.float64))


def test_class_scores_of_no_centre_are_empty():
    assert class_scores(torch.zeros(0, 4), torch.ones(3, 4)).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("context", [0, 1, 4])
@pytest.mark.parametrize("rectified", [False, True])
def test_maps_equal_slow_loops(dtype, context, rectified):
    """Cosines may be negative: only their difference is rectified."""
    inputs = [random(2, 2, 5, 3, 4), random(3, 3, 5), random(4, context, 5)]
    inputs = [(p.clamp(min=0) if rectified else p).to(dtype) for p in inputs]
    out = local_prototype_maps(*inputs)
    assert out.dtype == dtype
    expected = slow_maps(*(p.double() for p in inputs))
    torch.testing.assert_close(out.double(), expected, atol=DTYPES[dtype], rtol=0)


@few_examples
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_maps_do_not_depend_on_length(seed, of_features, of_prototypes):
    features, foreground, context = random(seed, 1, 4, 2, 2), random(seed, 3, 4), random(seed, 2, 4)
    torch.testing.assert_close(
        local_prototype_maps(
            features * of_features, foreground * of_prototypes, context * of_prototypes
        ),
        local_prototype_maps(features, foreground, context),
    )


def test_zero_features_give_zero():
    out = local_prototype_maps(torch.zeros(1, 3, 2, 2), torch.ones(2, 3), torch.ones(1, 3))
    assert torch.equal(out, torch.zeros(1, 2, 2))


def with_scores(*scores):
    """Return centres with the given scores for class 0 of two, and the class weights."""
    logits = torch.tensor(scores, dtype=torch.float64).logit()
    weights = torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64)
    return torch.stack([logits, torch.zeros_like(logits)], 1), weights


def select(foreground, context, **options):
    centers, weights = with_scores(*foreground)
    others, _ = with_scores(*context)
    chosen = LPCAM(LPCAMConfig(**options)).select(
        Centers(foreground=centers, context=others), weights, 0
    )
    return [torch.nonzero(mask).flatten().tolist() for mask in chosen]


def test_selection_keeps_centres_within_the_bounds():
    options = {"mu_f": 0.9, "mu_b": 0.5, "mu_b_low": 0.05}
    assert select([0.95, 0.85, 0.91], [0.4, 0.6, 0.03, 0.1], **options) == [[0, 2], [0, 3]]


def test_bounds_are_strict():
    """A score that equals its lower or upper bound is out."""
    assert select([0.5, 0.75], [0.5, 0.25], mu_f=0.5, mu_b=0.5) == [[1], [1]]
    assert select([0.9], [0.5, 0.6], mu_b_low=0.5) == [[0], [1]]


def test_the_best_foreground_centre_stays_where_none_passes():
    assert select([0.2, 0.6, 0.4], [], mu_f=0.9) == [[1], []]


def test_context_may_be_empty():
    assert select([0.95], [0.95, 0.99], mu_b=0.9) == [[0], []]


def test_a_class_without_features_has_no_direction():
    method = LPCAM(LPCAMConfig())
    weights = torch.ones(2, 3)
    none = Centers(foreground=torch.zeros(0, 3), context=torch.ones(4, 3))
    assert method.fit({1: none}, weights) == {1: [0, 4]}
    assert torch.equal(method.directions, torch.zeros(2, 3))


def test_shares_are_the_weights_of_the_mean():
    """Chosen foreground centres count equally, chosen context negatively, other centres nothing."""
    method = LPCAM(LPCAMConfig(mu_f=0.9, mu_b=0.5, mu_b_low=0.05))
    near, weights = with_scores(0.95, 0.85, 0.91)
    far, _ = with_scores(0.4, 0.6, 0.03, 0.1)
    method.fit({0: Centers(foreground=near, context=far)}, weights)
    assert method.shares[0].tolist() == [0.5, 0, 0.5, -0.5, 0, 0, -0.5]


def test_directions_are_means_of_unit_vectors():
    method = LPCAM(LPCAMConfig(mu_f=0.0, mu_b=1.0))
    of_class = Centers(
        foreground=torch.tensor([[2.0, 0], [0, 3.0]]), context=torch.tensor([[0, 5.0]])
    )
    method.fit({0: of_class}, torch.tensor([[1.0, 0.5], [0, 0]]))
    torch.testing.assert_close(method.directions[0], torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("K", 0),
        ("K", 1.5),
        ("tau", -0.1),
        ("tau", 1.1),
        ("tau", float("nan")),
        ("mu_f", 2),
        ("mu_b", -1),
        ("mu_b_low", 1.5),
        ("tolerance", -1e-9),
        ("max_iterations", 0),
        ("spherical", 1),
        ("split", 3),
    ],
)
def test_options_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=f"^{field} is "):
        LPCAMConfig(**{field: value})
    with pytest.raises(InputError, match=rf"lpcam\.{field} is "):
        build_experiment("lpcam", changes={f"lpcam.{field}": value})


def test_presets_follow_the_specification():
    paper, release = (build_experiment("lpcam", preset=p) for p in ("paper", "release"))
    printed, released = paper.settings["lpcam"], release.settings["lpcam"]
    assert (printed.K, printed.tau) == (12, 0.1)
    assert (printed.mu_f, printed.mu_b, printed.mu_b_low) == (0.9, 0.9, 0)
    assert (released.mu_b_low, released.shift, printed.shift) == (0.05, 5, None)
    coco = build_experiment("lpcam", preset="release-coco").settings["lpcam"]
    assert (coco.K, coco.tau, coco.mu_b, coco.images) == (20, 0.25, 0.5, 100)
    assert (coco.mu_f, coco.mu_b_low) == (0.9, 0)
    assert paper.training.momentum == release.training.momentum == 1e-4
    assert paper.network.frozen_stages == release.network.frozen_stages == 0


def test_clustering_follows_the_settings():
    clustering = LPCAM(LPCAMConfig(K=7, tau=0.25, spherical=True, split="x")).clustering
    assert (clustering.clusters, clustering.threshold) == (7, 0.25)
    assert (clustering.spherical, clustering.split) == (True, "x")


def test_options_of_the_selection_do_not_change_the_clustering():
    changed = LPCAM(LPCAMConfig(**dict.fromkeys(LPCAM.selection, 0.5)))
    assert changed.clustering == LPCAM(LPCAMConfig()).clustering


def test_the_summed_kernel_gives_the_scores_of_a_constant_map_away_from_its_border():
    """A head with a larger kernel than 1x1, as PatchCAM of MCTformer has."""
    torch.manual_seed(0)
    head = torch.nn.Conv2d(6, 4, 3, padding=1).double()
    center = torch.randn(6, dtype=torch.float64)
    with torch.no_grad():
        whole = head(center[None, :, None, None].expand(1, 6, 5, 4))[0]
        scores = head.weight.sum((2, 3)) @ center + head.bias
    inside = scores[:, None, None].expand(4, 3, 2)
    torch.testing.assert_close(whole[:, 1:-1, 1:-1], inside)
    assert (whole[:, 0] - scores[:, None]).abs().min() > 1e-3
    with torch.no_grad():
        shares = class_scores(center[None], head.weight.sum((2, 3)), head.bias)
    torch.testing.assert_close(shares[0], scores.softmax(0))


def test_one_prototype_gives_a_rectified_cosine_map_on_signed_features():
    """Tokens of a vision transformer are signed; the map is rectified without context, too."""
    features, center = random(0, 2, 5, 3, 4), random(1, 1, 5)
    network = SimpleNamespace(features=lambda images: {"c4": features})
    method = LPCAM(LPCAMConfig(mu_f=0.0))
    method.fit({0: Centers(foreground=center, context=center[:0])}, torch.eye(5)[:1].double())
    maps = method.localize(network, torch.zeros(1, 3, 8, 8), torch.ones(1, 1))
    summed = features[0] + features[1].flip(-1)
    for y in range(3):
        for x in range(4):
            expected = max(0.0, cosine(summed[:, y, x].tolist(), center[0].tolist()))
            assert maps[0, 0, y, x].item() == pytest.approx(expected, abs=1e-12)
    assert 0 < (maps == 0).sum() < maps.numel()
