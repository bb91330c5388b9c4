"""Tests of the bound on memory: the bytes of all tensors that exist at once during inference."""

from __future__ import annotations

import pytest
import torch
from memory_peak import peak_of
from wsss.platform.models.backbones import build
from wsss.platform.models.backbones.from_timm.attention import (
    MOST_VALUES,
    AttentionSum,
    summed_attention,
)
from wsss.platform.models.classifier import Classifier, class_activation_maps
from wsss.platform.stages.inference.folding import fused

NAMES = ("test_resnet", "test_convnext", "test_efficientnet", "mobilenetv3_small_050", "test_vit")


@pytest.mark.parametrize("side", [160, 250])
@pytest.mark.parametrize("name", NAMES)
def test_class_maps_take_no_more_memory_than_the_bound(name, side):
    torch.manual_seed(0)
    network = fused(Classifier(build(f"timm:{name}"), 20))
    images = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        peak = peak_of(class_activation_maps, network, images)
    bound = network.backbone.pixel_bytes * side**2
    assert 0.2 * bound < peak + images.nbytes < bound


@pytest.mark.parametrize("side", [512, 640])
def test_summed_attention_takes_no_more_memory_than_the_bound(side):
    torch.manual_seed(0)
    backbone = build("timm:test_vit").eval()
    backbone.attention_sums = 1
    images = torch.randn(1, 3, side, side)
    both = torch.cat([images, images.flip(3)])

    def attend():
        pairs = AttentionSum(range(backbone.depth))
        with summed_attention(backbone, pairs):
            return backbone.encode(both), pairs.value

    with torch.inference_mode():
        peak = peak_of(attend) + both.nbytes
    tokens = (side / backbone.patch) ** 2
    assert peak > 2 * 4 * tokens**2
    fits = backbone.most_pixels(peak)
    assert fits < 1.3 * side**2


def test_memory_grows_with_the_square_only_where_attention_is_summed():
    with torch.device("meta"):
        backbone = build("timm:deit_tiny_patch16_224")
    memory = 2**30
    assert backbone.most_pixels(memory) == memory // backbone.pixel_bytes
    backbone.attention_sums = 2
    pixels = backbone.most_pixels(memory)
    taken = pixels * backbone.pixel_bytes + 2 * 2 * 4 * (pixels / 16**2) ** 2
    left = memory - 3 * 4 * MOST_VALUES
    assert 0.999 * left < taken <= left
    assert backbone.most_pixels(1) == 0
