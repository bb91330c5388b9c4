"""Tests of vision transformers of timm as backbones, against timm's own forward passes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from wsss.platform.errors import InputError
from wsss.platform.models.backbones import STAGES, build
from wsss.platform.models.backbones.from_timm.vit import ViT
from wsss.platform.models.classifier import Classifier, classification_loss

TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64}


def tiny(name="deit_tiny_patch16_224", seed=0, **options):
    torch.manual_seed(seed)
    return ViT(name, **{**TINY, **options}).eval()


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_stages_are_those_of_timm(name, size):
    backbone = tiny(name)
    images = torch.randn(2, 3, *size)
    own = backbone.normalized(images)
    final, between = backbone.network.forward_intermediates(own, return_prefix_tokens=True)
    encoded = backbone.encode(images)
    for stage, (patches, _) in zip(STAGES[:3], between, strict=False):
        torch.testing.assert_close(encoded.stages[stage], patches, atol=1e-6, rtol=0)
    last = final[:, 1:].transpose(1, 2).unflatten(2, encoded.grid)
    torch.testing.assert_close(encoded.stages["c4"], last, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoded.prefix, final[:, :1], atol=1e-6, rtol=0)
    backbone.use_final_norm(False)
    raw = backbone.encode(images)
    torch.testing.assert_close(raw.stages["c4"], between[-1][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(raw.prefix, between[-1][1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_images_are_normalised_with_the_networks_own_mean_and_deviation():
    pixels = torch.rand(1, 3, 16, 16)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    images = (pixels - mean) / deviation
    halves = tiny("vit_tiny_patch16_224")
    torch.testing.assert_close(halves.normalized(images), (pixels - 0.5) / 0.5, atol=1e-6, rtol=0)
    assert tiny("deit_tiny_patch16_224").normalized(images) is images


@pytest.mark.parametrize("sizes", ["pad", "floor", "squash"])
@pytest.mark.parametrize("size", [(37, 71), (5, 40), (64, 63)])
@torch.no_grad()
def test_images_of_all_sizes_are_taken(size, sizes):
    backbone = tiny(sizes=sizes)
    stages = backbone(torch.randn(1, 3, *size))
    whole = min(size) >= 16 and sizes == "floor"
    grid = [n // 16 if whole else -(-n // 16) for n in size]
    assert [tuple(x.shape) for x in stages.values()] == [(1, 32, *grid)] * 4
    assert all(x.isfinite().all() for x in stages.values())


class Middles(nn.Module):
    """A patch embedding that returns the column of each patch's middle pixel, in all channels."""

    def forward(self, images):
        height, width = (n // 16 for n in images.shape[2:])
        middles = (torch.arange(width) + 0.5) * 16
        return middles[None, None, :, None].expand(len(images), height, width, 32)


def columns_of(backbone, width):
    """Return what both views of an image say of the column of each pixel, `[W]` each."""
    maps = backbone(torch.zeros(1, 3, 32, width))["c1"]
    line = F.interpolate(maps, (32, width), mode="bilinear", align_corners=False)[0, 0, 0]
    return line, width - line.flip(0)


@torch.no_grad()
def test_padding_leaves_each_column_in_its_place_in_both_views():
    backbone = tiny()
    backbone.network.patch_embed = Middles()
    backbone.network._pos_embed = lambda x: torch.cat([x[:, :1, 0], x.flatten(1, 2)], 1)
    backbone.network.blocks = nn.Sequential(*(nn.Identity() for _ in range(4)))
    width = 101
    pixels = torch.arange(width) + 0.5
    inside = slice(22, 79)  # the border reaches the middle of the second cell
    view, mirrored = columns_of(backbone, width)
    assert (view - pixels)[inside].abs().max() < 0.01
    assert (mirrored - pixels)[inside].abs().max() < 0.01
    backbone.sizes = "floor"
    view, mirrored = columns_of(backbone, width)
    assert (view - pixels)[inside].min() < -1
    assert (mirrored - pixels)[inside].max() > 1


@torch.no_grad()
def test_bfloat16_gives_nearly_the_same_stages_in_float32():
    backbone = tiny()
    images = torch.randn(2, 3, 48, 61)
    exact = backbone(images)
    backbone.halved = True
    halved = backbone(images)
    for name in STAGES:
        assert halved[name].dtype == torch.float32
        assert F.cosine_similarity(halved[name].flatten(), exact[name].flatten(), dim=0) > 0.999


@torch.no_grad()
def test_fused_and_unfused_attention_give_the_same_stages():
    backbone = tiny()
    images = torch.randn(2, 3, 64, 48)
    fused = backbone(images)
    for block in backbone.network.blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    for name, unfused in backbone(images).items():
        torch.testing.assert_close(fused[name], unfused, atol=1e-5, rtol=0)


@torch.no_grad()
def test_equal_class_tokens_are_one_class_token_with_more_weight():
    """C copies of the class token change patches as one whose logit as a key rises by ln C."""
    one, count = tiny(), 5
    many = copy.deepcopy(one)
    many.repeat_class_token(count)
    images = torch.randn(1, 3, 64, 64)
    encoded = many.encode(images)
    assert encoded.prefix.shape == (1, count, 32)
    torch.testing.assert_close(encoded.prefix, encoded.prefix[:, :1].expand(-1, count, -1))

    def heavier(attention):
        def forward(x, **_):
            parts = attention.qkv(x).unflatten(2, (3, 2, 16)).permute(2, 0, 3, 1, 4)
            bias = torch.zeros(1, x.shape[1])
            bias[0, 0] = torch.tensor(float(count)).log()
            out = F.scaled_dot_product_attention(*parts, attn_mask=bias)
            return attention.proj(out.transpose(1, 2).flatten(2))

        return forward

    for block in one.network.blocks:
        block.attn.forward = heavier(block.attn)
    for name, expected in one(images).items():
        torch.testing.assert_close(encoded.stages[name], expected, atol=1e-5, rtol=0)


def test_class_tokens_need_a_plain_transformer():
    with torch.device("meta"):
        for name in ("deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"):
            with pytest.raises(InputError, match="one class token"):
                ViT(name).repeat_class_token(3)


@pytest.mark.parametrize("final_norm", [True, False])
def test_each_parameter_is_in_one_stage_or_takes_no_gradient(final_norm):
    backbone = tiny(final_norm=final_norm)
    held = [p for stage in STAGES for p in backbone.stage_parameters(stage)]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in backbone.parameters() if p.requires_grad}
    network = Classifier(backbone, 3).train()
    classification_loss(network, torch.randn(2, 3, 64, 48), torch.ones(2, 3)).backward()
    assert all(p.grad is not None for p in held)


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_frozen_stages_get_no_gradient(frozen):
    network = Classifier(tiny(), 3, frozen).train()
    network.backbone.use_final_norm(True)
    classification_loss(network, torch.randn(2, 3, 32, 32), torch.ones(2, 3)).backward()
    for number, stage in enumerate(STAGES):
        gradients = [p.grad is None for p in network.backbone.stage_parameters(stage)]
        assert all(none == (number < frozen) for none in gradients)


@torch.no_grad()
def test_stages_come_one_after_another():
    backbone = tiny()
    images = torch.randn(1, 3, 48, 48)
    whole = backbone(images)
    for count in (1, 2, 3):
        first = backbone.first_stages(images, count)
        assert list(first) == list(STAGES[:count])
        assert all(torch.equal(first[name], whole[name]) for name in first)


def test_blocks_are_skipped_with_a_probability_that_rises():
    backbone = tiny()
    backbone.set_drop_path(0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in backbone.network.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("positions", ["mct", "clip_es"])
@torch.no_grad()
def test_positions_of_other_rules_are_equal_on_the_own_grid_only(positions):
    backbone, images = tiny(), torch.randn(1, 3, 64, 64)
    expected, other = backbone(images)["c4"], backbone(torch.ones(1, 3, 96, 64))["c4"]
    backbone.positions = positions
    torch.testing.assert_close(backbone(images)["c4"], expected, atol=1e-6, rtol=0)
    assert not torch.allclose(backbone(torch.ones(1, 3, 96, 64))["c4"], other)


def test_positions_of_other_rules_need_a_plain_transformer():
    with torch.device("meta"):
        backbone = build("timm:deit3_small_patch16_224", "mct")
        with pytest.raises(InputError, match=r"network\.positions=timm"):
            backbone(torch.zeros(1, 3, 64, 64))


def test_a_transformer_cannot_be_dilated():
    with pytest.raises(InputError, match="upernet"):
        tiny().dilate()
