"""Tests of CPAL: formulas against slow loops in float64, the bank, and what the loss trains."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.methods.cpal import (
    CPAL,
    Bank,
    CPALConfig,
    positiveness,
    prototype_aware_map,
    shift,
    soft_neighbours,
)
from wsss.methods.cpal.bank import kmeans
from wsss.methods.cpal.method import highest
from wsss.platform.models.backbones import build

CLASSES = 3
few_examples = settings(max_examples=25, deadline=None)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def slow_map(features, anchor, context, top_k, temperature):
    anchor, context = anchor.tolist(), context.tolist()
    products = [sum(x * y for x, y in zip(p, anchor, strict=True)) for p in context]
    top = max(products)
    weights = [math.exp((p - top) / temperature) for p in products]
    weights = [w / sum(weights) for w in weights]
    ranked = sorted(range(len(context)), key=lambda i: -weights[i] * cosine(context[i], anchor))
    chosen = ranked[:top_k]
    total = sum(weights[i] for i in chosen)
    out = torch.zeros(features.shape[1:], dtype=torch.float64)
    for y in range(features.shape[1]):
        for x in range(features.shape[2]):
            feature = features[:, y, x].tolist()
            mean = sum(weights[i] * cosine(feature, context[i]) for i in chosen) / total
            out[y, x] = max(mean, 0.0)
    return out


@few_examples
@given(
    seed=st.integers(0, 999),
    count=st.integers(1, 6),
    top_k=st.integers(1, 8),
    temperature=st.sampled_from([None, 0.5, 3.0]),
)
def test_the_map_follows_the_formula(seed, count, top_k, temperature):
    features, anchor, context = noise(seed, 5, 3, 2), noise(seed + 1, 5), noise(seed + 2, count, 5)
    result = prototype_aware_map(features, anchor, context, top_k, temperature)
    expected = slow_map(features, anchor, context, top_k, temperature or math.sqrt(5))
    torch.testing.assert_close(result, expected)


@few_examples
@given(seed=st.integers(0, 999), count=st.integers(1, 9))
def test_positiveness_is_a_share_that_follows_the_dot_product(seed, count):
    anchor, context = noise(seed, 7), noise(seed + 1, count, 7)
    weights = positiveness(anchor, context)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(weights.argsort(), (context @ anchor).argsort())
    torch.testing.assert_close(weights, positiveness(anchor, context, 7**0.5))


@few_examples
@given(seed=st.integers(0, 999), count=st.integers(1, 9))
def test_positiveness_follows_its_measure(seed, count):
    anchor, context = noise(seed, 7), noise(seed + 1, count, 7)
    near = {
        "cosine": torch.cosine_similarity(context, anchor[None]),
        "l1": -(context - anchor).abs().sum(1),
        "l2": -(context - anchor).square().sum(1).sqrt(),
    }
    for measure, nearness in near.items():
        weights = positiveness(anchor, context, 0.5, measure)
        torch.testing.assert_close(weights, torch.softmax(2 * nearness, 0))


def test_a_low_temperature_takes_the_nearest_and_a_high_one_all():
    anchor, context = noise(0, 7), noise(1, 5, 7)
    assert positiveness(anchor, context, 1e-3).max() > 0.999
    torch.testing.assert_close(
        positiveness(anchor, context, 1e9), torch.full((5,), 0.2, dtype=torch.float64)
    )


@few_examples
@given(seed=st.integers(0, 999), count=st.integers(1, 6), anchors=st.integers(1, 4))
def test_shifted_anchors_have_the_mean_of_the_context(seed, count, anchors):
    context, of_class = noise(seed, count, 4), noise(seed + 1, anchors, 4)
    delta = shift(context, of_class)
    pairs = [c - a for c in context for a in of_class]
    torch.testing.assert_close(delta, torch.stack(pairs).mean(0))
    torch.testing.assert_close((of_class + delta).mean(0), context.mean(0))


@pytest.mark.parametrize(("count", "anchors"), [(0, 3), (2, 0), (0, 0)])
def test_without_context_or_anchors_nothing_is_shifted(count, anchors):
    delta = shift(noise(0, count, 4), noise(1, anchors, 4))
    assert torch.equal(delta, torch.zeros(4, dtype=torch.float64))


def test_the_papers_temperature_lets_the_positiveness_act():
    """Dot products of hierarchical features, four unit vectors side by side, are at most 4."""
    anchor, context = noise(0, 4, 192), noise(1, 50, 4, 192) / 2
    anchor, context = (x / x.norm(dim=-1, keepdim=True) for x in (anchor, anchor + context))
    temperature = CPAL.presets["paper"].settings.temperature
    weights = {
        t: positiveness(anchor.flatten(), context.flatten(1), t) for t in (temperature, None)
    }
    spread = {t: (w.max() / w.min()).item() for t, w in weights.items()}
    assert temperature == 1
    assert spread[None] < 1.05
    assert spread[1] > spread[None]


def test_as_printed_the_positiveness_has_no_effect():
    anchor, context = noise(0, 7), noise(1, 9, 7)
    printed = [soft_neighbours(anchor, context, 4, t, "printed") for t in (0.1, 10.0)]
    torch.testing.assert_close(*printed)
    weighted = [soft_neighbours(anchor, context, 4, t) for t in (0.1, 10.0)]
    assert not torch.allclose(*weighted)


class TestBank:
    @pytest.fixture
    def bank(self):
        return Bank(2, 1, 4, 3)

    def push(self, bank, values):
        """Push one image per value, each of class 1 only."""
        for value in values:
            bank.push(torch.full((1, 2, 1), float(value)), torch.tensor([[False, True]]))

    def test_the_oldest_leaves_first(self, bank):
        self.push(bank, range(6))
        assert sorted(bank.rows[1].flatten().tolist()) == [2, 3, 4, 5]
        assert bank.pushed.tolist() == [0, 6]
        assert bank.rows[0].abs().sum() == 0

    def test_a_batch_larger_than_the_bank_leaves_its_last(self, bank):
        rows = torch.arange(7.0)[:, None, None].expand(7, 2, 1)
        bank.push(rows, torch.tensor([[False, True]] * 7))
        assert sorted(bank.rows[1].flatten().tolist()) == [3, 4, 5, 6]

    def test_few_anchors_are_their_own_prototypes(self, bank):
        assert bank.prototypes(1).shape == (0, 1)
        self.push(bank, [5, 7])
        bank.cluster(0)
        assert sorted(bank.prototypes(1).flatten().tolist()) == [5, 7]
        assert bank.prototypes(0).shape == (0, 1)

    def test_prototypes_are_means_of_clusters(self, bank):
        self.push(bank, [0, 1, 100, 200])
        bank.cluster(0)
        assert sorted(bank.prototypes(1).flatten().tolist()) == [0.5, 100, 200]

    def test_the_bank_is_saved_in_checkpoints(self, bank):
        self.push(bank, [1, 2, 3])
        bank.cluster(0)
        other = Bank(2, 1, 4, 3)
        other.load_state_dict(bank.state_dict())
        assert torch.equal(other.prototypes(1), bank.prototypes(1))
        assert not list(bank.parameters())


@few_examples
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, 0.34, 1.0]), st.integers(1, 20))
def test_the_highest_positions_are_a_share_of_the_valid_ones(seed, share, valid_count):
    """A loop sorts the values of each map; values differ, and a third of them is zero."""
    maps = noise(seed, 2, 3, 4, 5).clamp(min=-0.43) + 0.43
    valid = torch.zeros(2, 1, 4, 5)
    valid.flatten(2)[0, 0, :valid_count] = 1
    valid[1] = 1
    result = highest(maps, share, valid)
    for b in range(2):
        inside = valid[b, 0].flatten().bool()
        for n in range(3):
            values = sorted(maps[b, n].flatten()[inside].tolist(), reverse=True)
            chosen = values[: math.ceil(round(share * len(values), 9))]
            expected = sorted((v for v in chosen if v > 0), reverse=True)
            assert maps[b, n][result[b, n]].sort(descending=True).values.tolist() == expected


def test_a_share_decides_the_anchor_in_place_of_tau():
    maps = torch.tensor([0.2, 0.9, 0.4, 0.1]).view(1, 1, 2, 2)
    planes = torch.cat([1 - maps, maps], 1)
    features = torch.arange(4.0).view(1, 1, 2, 2)
    anchors, _ = CPAL(CPALConfig(share=0.5))._anchors(features, planes, torch.ones(1, 1, 2, 2))
    assert anchors[0, 1].item() == 1.5


def test_kmeans_is_deterministic():
    rows = noise(0, 60, 4).float()
    assert torch.equal(kmeans(rows, 5, 3), kmeans(rows, 5, 3))


class TestTraining:
    @pytest.fixture
    def network(self):
        torch.manual_seed(0)
        return CPAL(CPALConfig()).network(CLASSES, build("small")).train()

    def warm(self, network, batch_of, **options):
        """Return the losses of a batch in the second epoch."""
        method = CPAL(CPALConfig(**options))
        method.on_epoch_start(network, 0)
        for seed in range(3):
            method.losses(network, batch_of([[1, 0, 1], [0, 1, 0]], seed), 0.0)
        method.on_epoch_start(network, 1)
        return method.losses(network, batch_of([[1, 0, 1], [1, 1, 0]], 9), 0.5)

    def test_the_first_epoch_only_fills_the_bank(self, network, batch_of):
        method = CPAL(CPALConfig())
        method.on_epoch_start(network, 0)
        terms = method.losses(network, batch_of([[1, 0, 1]]), 0.0)
        assert terms["self"] == 0
        assert network.extras["cpal"].pushed.tolist()[1:] == [1, 0, 1]

    @pytest.mark.parametrize("shifted", ["anchors", "both", "none"])
    @pytest.mark.parametrize("weighting", ["weighted", "printed"])
    def test_later_epochs_train_hierarchical_features_and_class_maps(
        self, network, batch_of, shifted, weighting
    ):
        loss = self.warm(network, batch_of, shift=shifted, weighting=weighting)["self"]
        assert loss > 0
        loss.backward()
        assert all(c.weight.grad.abs().sum() > 0 for c in network.extras["hierarchical"].convs)
        assert network.head.weight.grad.abs().sum() > 0

    @pytest.mark.parametrize(
        "options",
        [
            {"weighting": "printed", "top_k": 2},
            {"temperature": 0.1, "measure": "l1"},
            {"shift": "none", "normalized": False, "detached": False},
        ],
    )
    def test_without_the_loss_options_of_the_map_change_no_training(self, batch_of, options):
        def trained(**options):
            torch.manual_seed(0)
            network = CPAL(CPALConfig()).network(CLASSES, build("small")).train()
            sum(self.warm(network, batch_of, weight=0.0, **options).values()).backward()
            gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
            return {**network.state_dict(), **gradients}

        torch.testing.assert_close(trained(**options), trained(), rtol=0, atol=0)
        settings = CPAL(CPALConfig(weight=0.0, **options)).training_settings()
        assert settings == CPAL(CPALConfig(weight=0.0)).training_settings()
        with_loss = CPAL(CPALConfig(**options)).training_settings()
        assert with_loss != CPAL(CPALConfig()).training_settings()

    def test_anchors_carry_gradient_unless_detached(self, network, batch_of):
        method, features = CPAL(CPALConfig()), torch.randn(1, 768, 4, 4, requires_grad=True)
        maps = torch.ones(1, CLASSES + 1, 4, 4)
        assert not method._anchors(features, maps, torch.ones_like(maps[:, :1]))[0].requires_grad
        assert (
            CPAL(CPALConfig(detached=False))
            ._anchors(features, maps, torch.ones_like(maps[:, :1]))[0]
            .requires_grad
        )

    def test_the_bank_keeps_anchors_before_the_shift(self, network, batch_of):
        self.warm(network, batch_of)
        bank = network.extras["cpal"]
        with torch.no_grad():
            batch = batch_of([[1, 0, 1], [1, 1, 0]], 9)
            method = CPAL(CPALConfig())
            stages = network.features(batch.images)
            maps = method._maps(network.head(stages["c4"]), batch.labels)
            anchors, _ = method._anchors(
                method._features(network, stages), maps, torch.ones_like(maps[:, :1])
            )
        last = bank.rows[1, (bank.pushed[1] - 2) : bank.pushed[1]]
        torch.testing.assert_close(last, anchors[:, 1])

    @pytest.mark.parametrize("aligned", [True, False])
    def test_the_map_of_an_image_is_made_from_the_mean_of_its_views(
        self, network, batch_of, aligned
    ):
        """Aligned inference replaces the anchors of an image by the mean of the bank."""
        self.warm(network, batch_of)
        network.eval()
        method = CPAL(CPALConfig(aligned_inference=aligned, temperature=0.5))
        image, labels = torch.randn(1, 3, 32, 32), torch.ones(1, CLASSES)
        with torch.inference_mode():
            output = method.localize(network, image, labels)[0]
            stages = [network.features(x) for x in (image, image.flip(-1))]
            view, mirror = (method._features(network, s)[0] for s in stages)
            scores, mirrored = (network.head(s["c4"])[0] for s in stages)
            features = ((view + mirror.flip(-1)) / 2).double()
            maps = method._maps((scores + mirrored.flip(-1))[None], labels)
            anchors = method._anchors(features[None], maps.double(), torch.ones_like(maps[:, :1]))[
                0
            ][0]
        compared = 0
        for index in range(CLASSES + 1):
            rows = network.extras["cpal"].prototypes(index).double()
            if len(rows) and output[index].any():
                anchor = rows.mean(0) if aligned else anchors[index]
                expected = prototype_aware_map(features, anchor, rows, temperature=0.5)
                torch.testing.assert_close(output[index].double(), expected, rtol=1e-4, atol=1e-5)
                compared += 1
        assert compared > 1


def test_without_a_bank_maps_are_made_from_the_anchors_of_the_image():
    from wsss.methods.cam import CAM

    torch.manual_seed(0)
    network = CAM(CAM.Config()).network(CLASSES, build("small")).eval()
    with torch.inference_mode():
        maps = CPAL(CPALConfig()).localize(network, torch.randn(2, 3, 40, 32), torch.eye(3)[:2])
    assert maps.shape[1] == CLASSES + 1
    assert maps[0, 1].max() > 0
    assert maps[0, 2:].abs().sum() == 0
