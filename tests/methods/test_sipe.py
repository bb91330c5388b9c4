"""Tests of SIPE: seeds against slow loops in float64, and what each loss trains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.methods.sipe import SIPE, SIPEConfig, structure_seeds
from wsss.platform.method import build_experiment
from wsss.platform.models.backbones import build
from wsss.platform.ops.maps import normalize
from wsss.platform.ops.prototypes import cosine_maps, masked_average

CLASSES = 3
few_examples = settings(max_examples=25, deadline=None)


def slow_overlaps(features, maps):
    """Return the soft IoU `[N+1,P]` of the structure and maps of one image, by loops."""
    positions = features.double().flatten(1).T.tolist()
    planes = maps.double().flatten(1).tolist()

    def cosine(a, b):
        lengths = (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5
        return max(sum(x * y for x, y in zip(a, b, strict=True)) / lengths, 0.0) if lengths else 0.0

    out = []
    for plane in planes:
        row = []
        for a in positions:
            similar = [cosine(a, b) for b in positions]
            both = sum(s * m for s, m in zip(similar, plane, strict=True))
            either = sum(similar) + sum(plane) - both
            row.append(both / either if either else 0.0)
        out.append(row)
    return torch.tensor(out, dtype=torch.float64)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@few_examples
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    weight=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_seeds_follow_the_formula(seed, height, width, weight):
    features = noise(seed, 2, 5, height, width)
    maps = noise(seed + 1, 2, CLASSES + 1, height, width).abs()
    seeds = structure_seeds(features, maps, weight)
    for k in range(2):
        overlaps = slow_overlaps(features[k], maps[k])
        overlaps[0] *= weight
        assert torch.equal(seeds[k].flatten(1).argmax(0), overlaps.argmax(0))


@few_examples
@given(seed=st.integers(0, 999))
def test_each_position_has_one_class_whatever_the_scale_of_features(seed):
    features = noise(seed, 1, 6, 4, 5)
    maps = noise(seed + 1, 1, CLASSES + 1, 4, 5).abs()
    seeds = structure_seeds(features, maps)
    assert torch.equal(seeds.sum(1), torch.ones(1, 4, 5, dtype=torch.float64))
    assert set(seeds.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(seeds, structure_seeds(7 * features, maps))


def test_positions_without_overlap_are_background():
    empty = torch.zeros(1, CLASSES + 1, 3, 3)
    assert structure_seeds(torch.randn(1, 4, 3, 3), empty)[:, 0].all()
    assert structure_seeds(torch.zeros(1, 4, 3, 3), empty)[:, 0].all()


def test_seeds_follow_structure_not_position():
    """Two textures lie side by side; the class map marks one position of the left texture only."""
    features = torch.zeros(1, 2, 4, 6)
    features[:, 0, :, :3] = 1
    features[:, 1, :, 3:] = 1
    maps = torch.zeros(1, 2, 4, 6)
    maps[:, 0] = 1
    maps[:, :, 1, 1] = torch.tensor([0.0, 1.0])
    maps[:, 0, :, :3] = 0.02
    seeds = structure_seeds(features, maps)
    assert seeds[0, 1, :, :3].all()
    assert seeds[0, 0, :, 3:].all()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SIPE(SIPEConfig()).network(CLASSES, build("small"))


class TestTraining:
    def terms(self, network, batch, **options):
        network.train()
        return SIPE(SIPEConfig(**options)).losses(network, batch, 0.5)

    def test_consistency_trains_hierarchical_features_head_and_backbone(self, network, batch_of):
        self.terms(network, batch_of([[1, 0, 1], [0, 1, 0]]))["consistency"].backward()
        for conv in network.extras["hierarchical"].convs:
            assert conv.weight.grad.abs().sum() > 0
        assert network.head.weight.grad.abs().sum() > 0
        assert all(p.grad.abs().sum() > 0 for p in network.backbone.c4.parameters() if p.ndim > 1)

    def test_classification_does_not_train_hierarchical_features(self, network, batch_of):
        self.terms(network, batch_of([[1, 0, 1], [0, 1, 0]]))["classification"].backward()
        assert all(conv.weight.grad is None for conv in network.extras["hierarchical"].convs)

    @pytest.mark.parametrize("normalized", [True, False])
    def test_consistency_follows_the_formula(self, network, batch_of, normalized):
        batch = batch_of([[1, 0, 1], [0, 1, 0]], valid=600)
        loss = self.terms(network, batch, normalized=normalized, weight=2.0)["consistency"]
        with torch.no_grad():
            stages = network.features(batch.images)
            raw = network.head(stages["c4"]).clamp(min=0)
            foreground = raw / (raw.amax((2, 3), keepdim=True) + 1e-5)
            planes = torch.cat([1 - foreground.amax(1, keepdim=True), foreground], 1)
            labels = torch.cat([torch.ones(2, 1), batch.labels], 1)[:, :, None, None]
            inside = batch.valid[:, None, :: 32 // raw.shape[2], :: 32 // raw.shape[3]].float()
            planes = planes * labels * inside
            seeds = structure_seeds(stages["c4"], planes) * inside
            features = network.extras["hierarchical"](stages)
            specific = cosine_maps(features, masked_average(features, seeds))
            specific = normalize(specific) if normalized else specific
            expected = 2 * (planes - specific).abs().mean()
        torch.testing.assert_close(loss.detach(), expected)


def test_a_network_without_hierarchical_features_is_localized():
    torch.manual_seed(0)
    from wsss.methods.cam import CAM

    network = CAM(CAM.Config()).network(CLASSES, build("small")).eval()
    with torch.inference_mode():
        images = torch.randn(2, 3, 40, 32)
        whole = SIPE(SIPEConfig()).localize(network, images, torch.ones(2, 3))
        maps = SIPE(SIPEConfig()).localize(network, images, torch.eye(3)[:2])
    assert maps.shape[1] == CLASSES + 1
    assert torch.isfinite(maps).all()
    assert whole.flatten(1).amax(1).min() > 0
    assert maps[0, 2:].abs().sum() == maps[1, [1, 3]].abs().sum() == 0, "absent: no seeds"
    assert torch.equal(maps[0, :2], whole[0, :2])


def test_presets_follow_the_specification():
    paper, release = (build_experiment("sipe", preset=p) for p in ("paper", "release"))
    assert paper.settings["sipe"] == SIPEConfig(alpha_on="map", normalized=False)
    assert release.settings["sipe"] == SIPEConfig()
    assert paper.training.momentum == release.training.momentum == 1e-4
    assert paper.training.clip_norm == release.training.clip_norm == 1
    assert (paper.network.frozen_stages, release.network.frozen_stages) == (0, 2)
    assert (paper.refine.walk_power, release.refine.walk_power) == (1.0, 1.5)


def test_a_plain_background_is_what_no_map_claims():
    features = noise(0, 2, 5, 4, 3)
    seeds = torch.nn.functional.one_hot(noise(1, 2, 4, 3, 4).argmax(-1), 4).permute(0, 3, 1, 2)
    whole = SIPE(SIPEConfig())._specific(features, seeds.double())
    plain = SIPE(SIPEConfig(plain_background=True))._specific(features, seeds.double())
    assert torch.equal(whole[:, 1:], plain[:, 1:])
    torch.testing.assert_close(plain[:, 0], 1 - plain[:, 1:].amax(1))
    assert not torch.allclose(whole[:, 0], plain[:, 0])


def test_prototypes_may_be_of_the_last_stage():
    network = SIPE(SIPEConfig()).network(CLASSES, build("small")).eval()
    images, labels = torch.randn(1, 3, 32, 32), torch.ones(1, CLASSES)
    maps_by_kind = {
        kind: SIPE(SIPEConfig(features=kind)).localize(network, images, labels)
        for kind in (None, "c4")
    }
    assert maps_by_kind[None].shape == maps_by_kind["c4"].shape
    assert not torch.allclose(maps_by_kind[None], maps_by_kind["c4"])


@pytest.mark.parametrize("kind", [None, "c4"])
def test_every_parameter_that_is_trained_gets_a_gradient(batch_of, kind):
    """Several workers wait for the gradients of all parameters."""
    method = SIPE(SIPEConfig(features=kind))
    network = method.network(CLASSES, build("small")).train()
    terms = method.losses(network, batch_of([[1, 0, 1], [0, 1, 0]]), 0.5)
    torch.stack([*terms.values()]).sum().backward()
    without = {n for n, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()
    maps = method.localize(network.eval(), torch.randn(1, 3, 32, 32), torch.ones(1, CLASSES))
    assert maps.shape[:2] == (1, CLASSES + 1)


def test_maps_for_a_searched_threshold_have_no_background_plane():
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, 32, 32), torch.ones(2, 3)
    whole, searched = SIPE(SIPEConfig()), SIPE(SIPEConfig(searched=True))
    network = whole.network(3, build("small")).eval()
    assert whole.own_background
    assert not searched.own_background
    with torch.inference_mode():
        maps = searched.localize(network, images, labels)
        torch.testing.assert_close(maps, whole.localize(network, images, labels)[:, 1:])
    assert whole.training_settings() == searched.training_settings()
    assert whole.localizer_settings() != searched.localizer_settings()
