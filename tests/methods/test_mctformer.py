"""Tests of MCTformer: maps against slow loops in float64, its start, its training, its options."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F
from wsss.methods.mctformer import TOKENS, MCTformer, MCTformerConfig, spread
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment, find_method, join_methods
from wsss.platform.models.backbones import build
from wsss.platform.models.backbones.from_timm.attention import AttentionSum, summed_attention
from wsss.platform.ops.maps import merge_flip, normalize_range

CLASSES, BACKBONE, PATCH = 3, "timm:test_vit", 16
WIDE = (32, 64)
"""A size in pixels of 2 x 4 patches."""


def network_of(backbone=BACKBONE, **options):
    torch.manual_seed(0)
    network = MCTformer(MCTformerConfig(**options)).network(CLASSES, build(backbone))
    with torch.no_grad():  # apart, as after training
        network.backbone.network.cls_token.normal_()
        network.backbone.network.pos_embed.normal_(std=0.5)
        network.head.weight.normal_(std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return network_of()


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def localized(network, images, **options):
    method = MCTformer(MCTformerConfig(**options))
    with torch.inference_mode():
        return method.localize(network, images, torch.ones(len(images), CLASSES))


def slow_attention(network, images):
    """Return the attention of each block and head of one image, float64 `[L,heads,T,T]`.

    The network of timm computes in float64, its queries and keys give the attention by loops.
    """
    vit = copy.deepcopy(network.backbone).double()
    blocks, caught = vit.network.blocks, []
    hooks = [
        b.attn.qkv.register_forward_hook(lambda m, i, out: caught.append(out[0])) for b in blocks
    ]
    with torch.inference_mode():
        encoded = vit.encode(images.double())
    for hook in hooks:
        hook.remove()
    out = []
    for projected in caught:
        heads = projected.unflatten(1, (3, vit.heads, -1))
        rows = []
        for head in range(vit.heads):
            queries, keys = heads[:, 0, head], heads[:, 1, head]
            scores = [[float(q @ k) / math.sqrt(len(q)) for k in keys] for q in queries]
            largest = [max(row) for row in scores]
            powers = [
                [math.exp(x - high) for x in row] for row, high in zip(scores, largest, strict=True)
            ]
            rows.append([[x / sum(row) for x in row] for row in powers])
        out.append(rows)
    return torch.tensor(out, dtype=torch.float64), encoded


def slow_view(network, images, transposed=False):
    """Return V2's class maps `[N,h,w]` of one image without mirror image, by loops."""
    attention, encoded = slow_attention(network, images)
    blocks, heads = attention.shape[:2]
    head = copy.deepcopy(network.head).double()
    with torch.inference_mode():
        scores = F.relu(head(encoded.stages["c4"]))[0].flatten(1)
    patches = scores.shape[1]
    maps = torch.zeros(CLASSES, patches, dtype=torch.float64)
    for c in range(CLASSES):
        for j in range(patches):
            of_token = sum(
                attention[block, head, c, CLASSES + j] / heads
                for block in range(blocks - 3, blocks)
                for head in range(heads)
            )
            maps[c, j] = of_token * scores[c, j]
    out = torch.zeros_like(maps)
    for c in range(CLASSES):
        for i in range(patches):
            for j in range(patches):
                row, column = (j, i) if transposed else (i, j)
                for block in range(blocks):
                    for head in range(heads):
                        share = attention[block, head, CLASSES + row, CLASSES + column] / heads
                        out[c, i] += share * maps[c, j]
    return out.reshape(CLASSES, *encoded.grid)


def slow_maps(network, images, transposed=False):
    views = (slow_view(network, view, transposed) for view in (images, images.flip(-1)))
    return merge_flip(*views)


def test_maps_of_v2_follow_the_formula(network):
    images = noise(1, 3, *WIDE)
    maps = localized(network, images)[0].double()
    expected = slow_maps(network, images)
    torch.testing.assert_close(maps / expected.max(), expected / expected.max(), atol=1e-6, rtol=0)


def test_the_affinity_is_read_from_the_patch_that_attends(network):
    images = noise(1, 3, *WIDE)
    expected = slow_maps(network, images, transposed=True)
    distance = (localized(network, images)[0].double() - expected).abs().max() / expected.max()
    assert distance > 1e-3


def test_spreading_sums_over_the_patches_that_are_attended_to():
    maps, affinity = noise(1, 2, 2, 3).double(), noise(1, 6, 6, seed=2).double()
    out = spread(maps, affinity)
    for c in range(2):
        for i in range(6):
            row = sum(affinity[0, i, j] * maps[0, c].flatten()[j] for j in range(6))
            torch.testing.assert_close(out[0, c].flatten()[i], row)


def test_all_classes_start_equal():
    torch.manual_seed(0)
    network = MCTformer(MCTformerConfig()).network(CLASSES, build(BACKBONE)).eval()
    vit = network.backbone
    rows = AttentionSum(range(vit.depth), rows=slice(0, CLASSES), columns=slice(None))
    with torch.inference_mode():
        tokens = network.features(noise(2, 3, *WIDE))[TOKENS]
        with summed_attention(vit, rows):
            vit.encode(noise(2, 3, *WIDE))
    assert tokens.shape == (2, CLASSES, vit.width)
    assert vit.network.pos_embed.shape[1] == CLASSES + 100
    for n in range(1, CLASSES):
        torch.testing.assert_close(tokens[:, n], tokens[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(rows.value[:, n], rows.value[:, 0], atol=1e-6, rtol=0)
    assert tokens.mean(2).abs().min() > 1e-6, "the last normalisation would make them zero"


def test_the_scale_of_the_attention_does_not_matter(network):
    maps = localized(network, noise(1, 3, *WIDE)).double()
    one, other = normalize_range(maps), normalize_range(1e3 * maps)
    assert one.min() == 0
    assert one.amax((2, 3)).min() > 0.99
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert not normalize_range(torch.full((1, 1, 2, 2), 7.0)).any()
    assert torch.equal(MCTformer(MCTformerConfig()).normalize(maps), one)


@pytest.mark.parametrize("size", [WIDE, (48, 48), (41, 70), (10, 7)])
def test_views_of_the_mirror_image_are_mirrored_back(network, size):
    """Whether both views lie on the same pixels, the tests of the backbones tell."""
    images = noise(2, 3, *size)
    maps, mirrored = localized(network, images), localized(network, images.flip(-1))
    torch.testing.assert_close(mirrored.flip(-1), maps, atol=1e-6 * float(maps.max()), rtol=0)


class TestFusion:
    def views(self, network, size):
        images = noise(2, 3, *size)
        return images, torch.cat([images, images.flip(-1)])

    @pytest.mark.parametrize("options", [{}, {"fusion": "patchcam"}, {"affinity_blocks": 0}])
    def test_patchcam_in_its_own_place_changes_nothing(self, network, options):
        images, views = self.views(network, WIDE)
        method = MCTformer(MCTformerConfig(**options))
        with torch.inference_mode():
            patchcam = F.relu(network.head(network.features(views)["c4"]))
            fused = merge_flip(*method.fuse(network, views, patchcam).chunk(2))
        assert torch.equal(fused, localized(network, images, **options))

    def test_other_maps_are_masked_by_the_attention_and_spread(self, network):
        images, maps = noise(1, 3, *WIDE), noise(1, CLASSES, 2, 4, seed=5).abs()
        attention, _ = slow_attention(network, images)
        mean = attention.mean(1)
        of_tokens = mean[-3:, :CLASSES, CLASSES:].sum(0).reshape(CLASSES, 2, 4)
        expected = spread((of_tokens * maps[0])[None], mean[:, CLASSES:, CLASSES:].sum(0)[None])
        with torch.inference_mode():
            fused = MCTformer(MCTformerConfig()).fuse(network, images, maps)
        torch.testing.assert_close(fused.double(), expected, atol=1e-6, rtol=1e-4)

    def test_maps_of_odd_sizes_are_resampled_to_the_patches_and_back(self, network):
        """A ramp from left to right, unspread and unmasked, comes back away from the border."""
        method = MCTformer(MCTformerConfig(fusion="patchcam", affinity_blocks=0))
        width = 8 * PATCH - 11
        ramp = ((torch.arange(8) + 0.5) * width / 8).expand(1, CLASSES, 2, 8)
        with torch.inference_mode():
            fused = method.fuse(network, noise(1, 3, 32, width), ramp)
        torch.testing.assert_close(fused[..., 1:-1], ramp[..., 1:-1])

    @pytest.mark.parametrize(
        ("options", "blocks"),
        [({}, (3, 6)), ({"attention_blocks": 50}, (6, 6)), ({"affinity_blocks": 2}, (3, 2))],
    )
    def test_blocks_are_counted_from_the_last(self, network, options, blocks):
        images = noise(1, 3, *WIDE)
        attention, encoded = slow_attention(network, images)
        mean, patches = attention.mean(1), slice(CLASSES, None)
        of_tokens = mean[-blocks[0] :, :CLASSES, patches].sum(0).reshape(CLASSES, 2, 4)
        affinity = mean[-blocks[1] :, patches, patches].sum(0)
        with torch.inference_mode():
            maps = MCTformer(MCTformerConfig(**options))._maps(network, images)[0]
            scores = F.relu(network.head(encoded.patches.float())).double()
        expected = spread(of_tokens * scores, affinity[None])
        torch.testing.assert_close(maps.double(), expected, atol=1e-6, rtol=1e-4)

    def test_attention_alone_leaves_patchcam_out(self, network):
        images = noise(1, 3, *WIDE)
        attention, _ = slow_attention(network, images)
        maps = localized(network, images, fusion="attention", affinity_blocks=0)
        v1 = localized(network, images, version="v1", affinity_blocks=0)
        mirrored = slow_attention(network, images.flip(-1))[0]
        both = [
            a.mean(1)[-3:, :CLASSES, CLASSES:].sum(0).reshape(CLASSES, 2, 4)
            for a in (attention, mirrored)
        ]
        expected = merge_flip(*both)
        torch.testing.assert_close(maps[0].double(), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(maps, v1)

    def test_views_of_large_images_are_computed_one_at_a_time(self, network, monkeypatch):
        images = noise(3, 3, *WIDE)
        together = localized(network, images)
        monkeypatch.setattr("wsss.methods.mctformer.MOST_PAIRS", 64)
        torch.testing.assert_close(localized(network, images), together)


class TestTraining:
    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_the_losses_follow_the_formula(self, batch_of, version):
        network, batch = network_of(), batch_of([[1, 0, 1], [0, 1, 0]])
        terms = MCTformer(MCTformerConfig(version=version)).losses(network, batch, 0.0)
        features = network.features(batch.images)

        def binary(scores):
            chance = torch.sigmoid(scores.double())
            right = torch.where(batch.labels.bool(), chance, 1 - chance)
            return -right.log().sum() / right.numel()

        expected = {"tokens": binary(features[TOKENS].sum(2) / 64)}
        if version == "v2":
            expected["classification"] = binary(network.head(features["c4"]).mean((2, 3)))
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(terms[name].double(), value, atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_every_parameter_that_takes_a_gradient_gets_one(self, batch_of, version):
        """Distributed training would wait for a gradient that never comes."""
        method = MCTformer(MCTformerConfig(version=version, drop_path=0.0))
        network = method.network(CLASSES, build(BACKBONE)).train()
        terms = method.losses(network, batch_of([[1, 0, 1], [0, 1, 0]]), 0.0)
        torch.stack(list(terms.values())).sum().backward()
        without = {n for n, p in network.named_parameters() if p.grad is None}
        untrained = {n for n, p in network.named_parameters() if not p.requires_grad}
        head = {"head.weight", "head.bias"} if version == "v1" else set()
        norm = {"backbone.network.norm.weight", "backbone.network.norm.bias"}
        assert without == untrained == head | norm

    def test_vectors_and_tokens_have_no_weight_decay(self):
        network = network_of()
        groups = network.parameter_groups(2.0, 0.1, 0.05)
        decays = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
        rates = {id(p): g["lr"] for g in groups for p in g["params"]}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                token = name.endswith(("cls_token", "pos_embed"))
                assert decays[id(parameter)] == (0.0 if token or parameter.ndim == 1 else 0.05)
                assert rates[id(parameter)] == (0.2 if name.startswith("head") else 0.1)

    def test_blocks_are_skipped_more_often_towards_the_last(self):
        rates = [
            getattr(block.drop_path1, "drop_prob", 0.0)
            for block in network_of(drop_path=0.3).backbone.network.blocks
        ]
        assert rates == pytest.approx([0.3 * k / 5 for k in range(6)])


def joint_of(*names):
    return join_methods([find_method(name)(find_method(name).Config()) for name in names])


class TestSharing:
    def test_cpal_trains_beside_both_classification_losses_in_one_pass(self, batch_of):
        joint = join_methods(
            [find_method(n)(find_method(n).Config()) for n in ("mctformer", "cpal")]
        )
        network = joint.network(CLASSES, build(BACKBONE)).train()
        assert {"cpal", "hierarchical"} <= set(network.extras)
        calls = []
        network.backbone.network.patch_embed.register_forward_hook(lambda *_: calls.append(1))
        joint.on_epoch_start(network, 0)
        terms = joint.losses(network, batch_of([[1, 0, 1], [0, 1, 0]]), 0.0)
        assert terms.keys() == {"tokens", "classification", "self"}
        assert len(calls) == 1
        assert joint.fuses
        assert joint.divider().name == "mctformer"

    @pytest.mark.parametrize("name", ["sipe", "cpal", "psdpm", "ssc"])
    def test_the_losses_of_other_methods_train_on_its_network(self, batch_of, name):
        cls = find_method(name)
        options = {"delta": 1.0} if name == "ssc" else {}
        joint = join_methods([MCTformer(MCTformerConfig()), cls(cls.Config(**options))])
        network = joint.network(CLASSES, build(BACKBONE)).train()
        for epoch in range(2):
            joint.on_epoch_start(network, epoch)
            network.zero_grad()
            terms = joint.losses(network, batch_of([[1, 0, 1], [0, 1, 0]]), 0.9)
            torch.stack(list(terms.values())).sum().backward()
        assert {"tokens", "classification"} < terms.keys()
        assert all(value.isfinite() for value in terms.values())
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)

    def test_the_suppression_of_ssc_says_that_it_needs_rectified_features(self):
        ssc = find_method("ssc")
        joint = join_methods([MCTformer(MCTformerConfig()), ssc(ssc.Config())])
        with pytest.raises(InputError, match=r"rectified features.*set ssc\.delta=1"):
            joint.network(CLASSES, build(BACKBONE))

    @pytest.mark.parametrize("name", ["cam", "sipe", "cpal", "psdpm", "ssc"])
    def test_the_maps_of_other_localizers_are_fused(self, network, name):
        cls = find_method(name)
        localizer, images = cls(cls.Config()), noise(2, 3, *WIDE)
        with torch.inference_mode():
            maps = localizer.localize(network, images, torch.ones(2, CLASSES))[:, -CLASSES:]
            fused = MCTformer(MCTformerConfig()).fuse(network, images, maps)
        assert fused.shape == maps.shape
        assert fused.isfinite().all()
        assert fused.min() >= 0
        assert fused.max() > 0

    def test_a_network_of_its_own_comes_first(self):
        with pytest.raises(InputError, match=r"name it first: mctformer\+cpal"):
            joint_of("cpal", "mctformer")

    def test_v1_serves_no_other_method(self):
        v1 = MCTformer(MCTformerConfig(version="v1"))
        cpal = find_method("cpal")
        with pytest.raises(InputError, match=r"cpal needs class scores .* mctformer.version=v2"):
            join_methods([v1, cpal(cpal.Config())])
        assert not v1.fuses
        assert not MCTformer(MCTformerConfig(fusion="attention")).fuses

    def test_a_backbone_without_class_token_is_refused(self):
        for name in ("small", "timm:test_vit2"):
            with pytest.raises(InputError, match="class token"):
                MCTformer(MCTformerConfig()).network(CLASSES, build(name))

    def test_features_are_divided_by_patchcam_or_by_the_seed(self, network):
        images = noise(1, 3, *WIDE)
        by_patchcam = MCTformer(MCTformerConfig()).divider()
        with torch.inference_mode():
            maps = by_patchcam.localize(network, images, torch.ones(1, CLASSES))
            views = torch.cat([images, images.flip(-1)])
            scores = F.relu(network.head(network.features(views)["c4"]))
        torch.testing.assert_close(maps, merge_flip(*scores.chunk(2)), atol=1e-6, rtol=1e-5)
        by_seed = MCTformer(MCTformerConfig(divides="seed"))
        assert by_seed.divider() is by_seed


def test_presets_follow_the_specification():
    paper, release = (build_experiment("mctformer", preset=p) for p in ("paper", "release"))
    for made in (paper, release):
        training = made.training
        assert made.network.backbone == "timm:deit_small_patch16_224"
        assert (training.optimizer, training.weight_decay) == ("adamw", 0.05)
        assert training.lr == pytest.approx(5e-4 * training.batch_size / 512)
        assert (training.epochs, training.batch_size, training.crop) == (60, 64, 224)
        assert made.views.scales == (1.0,)
        assert made.refine.crf == "psa"
        assert made.settings["mctformer"] == MCTformerConfig()
    assert (release.network.positions, release.network.sizes) == ("mct", "floor")
    assert (paper.network.positions, paper.network.sizes) == ("timm", "pad")
