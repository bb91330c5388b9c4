"""Tests of SSC: formulas against slow loops in float64, and what the losses train."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.methods.ssc import SSC, SSCConfig, modulation_target, region_mean, suppress
from wsss.methods.ssc.reconstruction import EarlyStages, with_gradient_of, without_gradient
from wsss.platform.config.groups.network import Network
from wsss.platform.errors import InputError
from wsss.platform.method import Batch, build_experiment
from wsss.platform.models.backbones import build
from wsss.platform.models.backbones.from_timm.convnet import ConvNet
from wsss.platform.ops.maps import normalize
from wsss.platform.pipeline.checks.networks import check_network

CLASSES = 3
few_examples = settings(max_examples=25, deadline=None)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_eroded(mask, kernel):
    """Return the mask eroded by loops; an even window reaches one further to the top and left."""
    height, width = mask.shape
    reach = range(-(kernel // 2), kernel - kernel // 2)
    out = torch.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            window = [
                mask[y + dy, x + dx].item()
                for dy in reach
                for dx in reach
                if 0 <= y + dy < height and 0 <= x + dx < width
            ]
            out[y, x] = min(window)
    return out


@few_examples
@given(seed=st.integers(0, 999), delta=st.floats(0.05, 1))
def test_no_feature_exceeds_its_share_of_the_maximum(seed, delta):
    features = noise(seed, 2, 3, 4, 5).clamp(min=0)
    cut = suppress(features, delta)
    for b in range(2):
        for c in range(3):
            limit = delta * features[b, c].max()
            expected = [[min(v.item(), limit.item()) for v in row] for row in features[b, c]]
            torch.testing.assert_close(cut[b, c], torch.tensor(expected, dtype=torch.float64))


def test_cut_positions_send_their_gradient_to_the_maximum():
    features = torch.tensor([[[[1.0, 0.9, 0.2]]]], requires_grad=True)
    suppress(features, 0.5).sum().backward()
    torch.testing.assert_close(features.grad, torch.tensor([[[[1.0, 0.0, 1.0]]]]))


@few_examples
@given(seed=st.integers(0, 999), regions=st.integers(1, 5))
def test_region_means_equal_slow_loops(seed, regions):
    maps = noise(seed, 2, 3, 4, 5)
    ids = torch.randint(0, regions, (2, 4, 5), generator=torch.Generator().manual_seed(seed))
    means = region_mean(maps, ids)
    for b in range(2):
        for n in range(3):
            for r in ids[b].unique().tolist():
                mean = maps[b, n][ids[b] == r].mean()
                torch.testing.assert_close(
                    means[b, n][ids[b] == r], mean.expand(int((ids[b] == r).sum()))
                )


def test_without_classes_there_are_no_region_means():
    assert region_mean(torch.zeros(2, 0, 4, 5), torch.zeros(2, 4, 5).long()).shape == (2, 0, 4, 5)


@few_examples
@given(
    seed=st.integers(0, 999),
    kernel=st.integers(1, 9),
    threshold=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_the_target_follows_the_formula(seed, kernel, threshold):
    activation, regional = noise(seed, 1, 2, 7, 6).abs(), noise(seed + 1, 1, 2, 7, 6).abs()
    target = modulation_target(activation, regional, threshold, kernel)
    for n in range(2):
        reliable = slow_eroded((activation[0, n] > threshold).double(), kernel)
        expected = torch.maximum(regional[0, n], activation[0, n] * reliable)
        torch.testing.assert_close(target[0, n], expected)


def test_the_outside_of_a_map_does_not_erode_it():
    ones = torch.ones(1, 1, 9, 9, dtype=torch.float64)
    assert torch.equal(modulation_target(ones, 0 * ones), ones)


def test_an_even_window_reaches_one_further_to_the_top_and_left():
    activation = torch.ones(1, 1, 20, 20)
    activation[0, 0, 10, 10] = 0
    gone = modulation_target(activation, torch.zeros_like(activation))[0, 0] == 0
    rows = gone.any(1).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (10 - 3, 10 + 4)


class TestSuppression:
    def features(self, mode, delta):
        torch.manual_seed(0)
        network = SSC(SSCConfig(delta=delta, perceptual=0)).network(CLASSES, build("resnet18"))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.track_running_stats = True
        network.train(mode == "train")
        images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return network.features(images)

    def test_the_last_stage_is_always_cut_and_the_second_in_training(self):
        for mode in ("train", "eval"):
            whole, cut = self.features(mode, 1.0), self.features(mode, 0.5)
            assert (torch.equal(whole["c2"], cut["c2"])) is (mode == "eval")
            peaks = cut["c4"].amax((2, 3), keepdim=True)
            at_limit = (cut["c4"] == peaks).sum((2, 3))
            assert at_limit.float().mean() > 1.5, "several positions share the limit"

    def test_without_losses_no_superpixels_and_no_decoder_are_needed(self):
        method = SSC(SSCConfig(perceptual=0, modulation=0))
        assert method.superpixels == ""
        assert "ssc" not in method.network(CLASSES, build("small")).extras


class TestTraining:
    def network(self, **options):
        torch.manual_seed(0)
        method = SSC(SSCConfig(**options))
        return method, method.network(CLASSES, build("small")).train()

    def terms(self, batch_of, valid=1024, **options):
        method, network = self.network(**options)
        batch = batch_of([[1, 0, 1], [0, 1, 0]], valid=valid)
        return network, method.losses(network, batch, 0.5)

    def test_reconstruction_trains_classifier_and_decoder(self, batch_of):
        network, terms = self.terms(batch_of)
        terms["reconstruction"].backward()
        assert network.head.weight.grad.abs().sum() > 0
        assert all(p.grad is not None for p in network.extras["ssc"].parameters())

    def test_features_of_the_picture_train_neither_weights_nor_statistics(self, batch_of):
        _, network = self.network()
        picture = torch.randn(1, 3, 32, 32, requires_grad=True)
        before = {k: v.clone() for k, v in network.backbone.named_buffers()}
        features = without_gradient(EarlyStages(network.backbone))
        sum(f.sum() for f in features(picture)).backward()
        assert picture.grad.abs().sum() > 0
        assert all(p.grad is None for p in network.parameters())
        for name, value in network.backbone.named_buffers():
            assert torch.equal(value, before[name]), "statistics of pictures are not learnt"

    def test_the_decoder_alone_trains_first(self, batch_of):
        method, network = self.network(settle=0.4)
        batch = batch_of([[1, 0, 1], [0, 1, 0]])
        method.losses(network, batch, 0.39)["reconstruction"].backward()
        assert network.head.weight.grad is None
        assert all(p.grad is not None for p in network.extras["ssc"].parameters())
        method.losses(network, batch, 0.4)["reconstruction"].backward()
        assert network.head.weight.grad.abs().sum() > 0

    def test_suppression_begins_at_its_start_and_is_always_on_at_inference(self):
        method, network = self.network(suppression_start=0.5, perceptual=0, modulation=0)
        images = torch.randn(2, 3, 32, 32)

        def peaks_shared(progress):
            batch = Batch(images=images, labels=torch.ones(2, CLASSES), valid=torch.ones(2, 32, 32))
            method.losses(network, batch, progress)
            c4 = network.features(images)["c4"]
            return (c4 == c4.amax((2, 3), keepdim=True)).sum((2, 3)).float().mean() > 1.5

        assert not peaks_shared(0.49)
        assert peaks_shared(0.5)
        network.eval()
        assert peaks_shared(0.0)

    def test_inference_may_leave_suppression_out(self):
        images = torch.randn(2, 3, 32, 32)
        networks = {}
        for name, options in {
            "plain": {"delta": 1.0},
            "trained": {"suppressed_inference": False},
            "suppressed": {},
        }.items():
            _, network = self.network(perceptual=0, modulation=0, **options)
            networks[name] = network.eval().features(images)["c4"]
        assert torch.equal(networks["plain"], networks["trained"])
        assert not torch.equal(networks["plain"], networks["suppressed"])

    def test_the_gradient_of_the_reconstruction_has_a_share_of_the_length(self, batch_of):
        torch.manual_seed(0)
        maps = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
        first, second = maps.square().sum(), lambda x: (x**3).sum()
        second(with_gradient_of(maps, first, 0.25)).backward()
        expected = 3 * maps.detach() ** 2
        expected *= 0.25 * (2 * maps.detach()).norm() / expected.norm()
        torch.testing.assert_close(maps.grad, expected)

    def test_a_share_of_the_gradient_holds_whatever_the_weight(self, batch_of):
        batch, gradients = batch_of([[1, 0, 1], [0, 1, 0]]), []
        for weight in (1.0, 10.0):
            method, network = self.network(perceptual=weight, gradient_share=0.5, modulation=0)
            method.losses(network, batch, 0.5)["reconstruction"].backward()
            gradients.append(network.head.weight.grad)
        torch.testing.assert_close(*gradients)
        assert gradients[0].norm() > 0

    @pytest.mark.parametrize(("picture", "side"), [(1, 32), (2, 16), (4, 8)])
    def test_the_picture_may_be_smaller_than_the_image(self, batch_of, picture, side):
        method, network = self.network(picture=picture)
        scores = torch.randn(1, CLASSES, 4, 4)
        assert network.extras["ssc"](scores).shape == (1, 3, side, side)
        loss = method.losses(network, batch_of([[1, 0, 1]]), 0.5)["reconstruction"]
        assert loss.isfinite()
        assert loss > 0

    def test_modulation_begins_after_the_warm_up(self, batch_of):
        method, network = self.network(warm_up=0.4)
        batch = batch_of([[1, 0, 1], [0, 1, 0]])
        assert method.losses(network, batch, 0.39)["modulation"] == 0
        assert method.losses(network, batch, 0.4)["modulation"] > 0

    @pytest.mark.parametrize("valid", [1024, 512])
    def test_modulation_follows_the_formula(self, batch_of, valid):
        method, _ = self.network(delta=1.0)
        batch = batch_of([[1, 0, 1], [0, 1, 0]], valid=valid)
        generator = torch.Generator().manual_seed(0)
        scores = torch.randn(2, CLASSES, 4, 4, generator=generator).requires_grad_()
        result = method._modulation(scores, batch)
        raw = torch.nn.functional.interpolate(scores, (16, 16), mode="bilinear")
        rows = valid // 32 // 2
        squares = []
        for b, n in ((0, 0), (0, 2), (1, 1)):
            inside = torch.zeros(16, 16)
            inside[:rows] = 1
            plane = raw[b, n] * inside
            regional = region_mean(plane[None, None], batch.plane[b : b + 1, ::2, ::2])
            a = normalize(plane[None, None])
            target = modulation_target(a, normalize(regional)).detach()
            squares.append((a - target).square()[0, 0, :rows].flatten())
        expected = torch.cat(squares).mean()
        torch.testing.assert_close(result, expected)
        (gradient,), (slow,) = (torch.autograd.grad(loss, scores) for loss in (result, expected))
        torch.testing.assert_close(gradient, slow)  # the target sends no gradient
        assert gradient[0, 0].any()
        assert not gradient[0, 1].any(), "an absent class gets no gradient"

    def test_the_decoder_has_an_optimiser_of_its_own(self):
        _, network = self.network()
        decoder = {id(p) for p in network.extras["ssc"].parameters()}
        grouped = {id(p) for g in network.parameter_groups(10, 0.1, 0.0) for p in g["params"]}
        assert not decoder & grouped
        adam = network.extras["ssc"].optimizer()
        assert {id(p) for g in adam.param_groups for p in g["params"]} == decoder
        assert adam.defaults["betas"] == (0.5, 0.999)


def test_presets_follow_the_specification():
    paper, release = (build_experiment("ssc", preset=p) for p in ("paper", "release"))
    assert paper.settings["ssc"] == SSCConfig(warm_up=0.0, taps="last")
    assert release.settings["ssc"] == SSCConfig()
    for made in (paper, release):
        assert (made.refine.foreground, made.refine.background) == (0.30, 0.10)
        assert made.refine.training.batch_size == 16
    assert paper.training.batch_size == release.training.batch_size == 6


@pytest.mark.parametrize("comparison", ["l1", "l2"])
@pytest.mark.parametrize("reconstructed", ["maps", "c3"])
def test_reconstructions_are_compared_by_pixels(comparison, reconstructed, batch_of):
    options = {"comparison": comparison, "reconstructed": reconstructed, "modulation": 0.0}
    torch.manual_seed(0)
    method = SSC(SSCConfig(delta=1.0, **options))
    network = method.network(CLASSES, build("small")).train()
    batch = batch_of([[1, 0, 0], [0, 1, 1]])
    loss = method.losses(network, batch, 0.5)["reconstruction"]
    stages = network.features(batch.images)
    maps = network.head(stages["c4"]) if reconstructed == "maps" else stages["c3"]
    picture = network.extras["ssc"](maps)
    assert picture.shape == batch.images.shape
    difference = (picture - batch.images).double()
    expected = difference.abs().mean() if comparison == "l1" else (difference**2).mean()
    torch.testing.assert_close(loss.double(), expected)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg16", "small"])
def test_suppressed_blocks_give_rectified_features(name):
    network = build(name).eval()
    outputs = {}
    for stage in ("c2", "c4"):
        for number, block in enumerate(network.rectified_blocks(stage)):
            block.register_forward_hook(
                lambda _, __, output, key=(stage, number): outputs.__setitem__(key, output.clone())
            )
    with torch.no_grad():
        network(noise(0, 1, 3, 64, 64).float())
    assert ("c4", 0) in outputs
    assert all(output.min() >= 0 for output in outputs.values())


def test_only_trainings_with_suppression_have_another_key():
    assert "suppression" in SSC(SSCConfig()).training_settings()
    assert "suppression" not in SSC(SSCConfig(delta=1.0)).training_settings()


@pytest.mark.parametrize(
    ("backbone", "changes", "added"),
    [
        ("resnet18", {}, {"features": 2}),
        ("mobilenet_v2", {}, {}),
        ("resnet18", {"delta": 1.0}, {}),
        ("resnet18", {"perceptual": 0.0}, {}),
        ("resnet18", {"comparison": "l1"}, {}),
        ("resnet18", {"vgg": "vgg.pth"}, {}),
        ("resnet18", {"compared_backbone": "small", "compared_weights": "small.pth"}, {}),
    ],
)
def test_only_comparisons_by_the_suppressed_backbone_have_another_key(backbone, changes, added):
    """MobileNetV2 suppresses nothing in the stages that compare images."""
    settings = SSC(SSCConfig(picture=2, **changes)).backbone_settings(backbone)
    assert settings == added


@pytest.mark.parametrize(("name", "accepted"), [("test_resnet", True), ("test_convnext", False)])
def test_many_settings_of_suppression_are_checked_with_one_network_of_values(
    name, accepted, monkeypatch
):
    init, on_meta = ConvNet.__init__, []

    def note(self, name):
        init(self, name)
        on_meta.append(self.scale.is_meta)

    monkeypatch.setattr(ConvNet, "__init__", note)
    for threshold in (0.31, 0.32, 0.33):
        method = SSC(SSCConfig(delta=0.5, threshold=threshold))
        with nullcontext() if accepted else pytest.raises(InputError, match="rectified"):
            check_network(method, Network(backbone=f"timm:{name}"), CLASSES)
    assert on_meta.count(False) <= 1
