"""Tests of summed attention, against a slow softmax in float64 and timm's own extraction."""

from __future__ import annotations

import pytest
import torch
from timm.utils import AttentionExtract
from wsss.platform.models.backbones.from_timm import attention
from wsss.platform.models.backbones.from_timm.attention import AttentionSum, summed_attention
from wsss.platform.models.backbones.from_timm.vit import ViT

BLOCKS, HEADS = 4, 2


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    options = {"embed_dim": 32, "depth": BLOCKS, "num_heads": HEADS, "img_size": 64}
    return ViT("deit_tiny_patch16_224", **options).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 48)


def slow_attention(block, x):
    """Return softmax(q k^T / sqrt(d)) of one block on its input, averaged over heads, float64."""
    weight, bias = block.attn.qkv.weight.double(), block.attn.qkv.bias.double()
    width = x.shape[2]
    projected = torch.nn.functional.layer_norm(
        x.double(), (width,), block.norm1.weight.double(), block.norm1.bias.double(), 1e-6
    )
    query, key, _ = (projected @ weight.T + bias).chunk(3, 2)
    size = width // HEADS
    out = torch.zeros(len(x), x.shape[1], x.shape[1], dtype=torch.float64)
    for image in range(len(x)):
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for i, one in enumerate(query[image, :, part]):
                scores = torch.stack([one @ other for other in key[image, :, part]])
                out[image, i] += (scores / size**0.5).softmax(0) / HEADS
    return out


@pytest.fixture
def expected(backbone, images):
    inputs = []
    handles = [
        block.register_forward_pre_hook(lambda module, x: inputs.append(x[0]))
        for block in backbone.network.blocks
    ]
    with torch.no_grad():
        backbone(images)
        out = [
            slow_attention(block, x)
            for block, x in zip(backbone.network.blocks, inputs, strict=True)
        ]
    for handle in handles:
        handle.remove()
    return torch.stack(out)


def summed(backbone, images, *arguments, **options):
    one = AttentionSum(*arguments, **options)
    with torch.no_grad(), summed_attention(backbone, one):
        backbone(images)
    return one.value


def test_attention_equals_a_slow_softmax(backbone, images, expected):
    for block in range(BLOCKS):
        attention = summed(backbone, images, [block])
        torch.testing.assert_close(attention.double(), expected[block], atol=1e-6, rtol=1e-5)


def test_sums_equal_stacked_sums(backbone, images, expected):
    attention = summed(backbone, images, range(1, BLOCKS))
    torch.testing.assert_close(attention.double(), expected[1:].sum(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attention.sum(2), torch.full((2, 13), 3.0), atol=1e-5, rtol=0)


def test_attention_equals_that_of_timm(backbone, images):
    whole = summed(backbone, images, range(BLOCKS))
    for block in backbone.network.blocks:
        block.attn.fused_attn = False
    with torch.no_grad():
        theirs = AttentionExtract(backbone.network, method="hook")(images)
    assert len(theirs) == BLOCKS
    torch.testing.assert_close(whole, sum(x.mean(1) for x in theirs.values()), atol=1e-6, rtol=0)


def test_rows_and_columns_are_cut_out_of_the_whole(backbone, images):
    whole = summed(backbone, images, [0, 3])
    part = summed(backbone, images, [0, 3], rows=slice(0, 1), columns=slice(1, None))
    assert part.shape == (2, 1, 12)
    torch.testing.assert_close(part, whole[:, :1, 1:])


def test_attention_is_computed_some_rows_at_a_time(backbone, images, monkeypatch):
    whole, largest = summed(backbone, images, range(BLOCKS)), []
    softmax = torch.Tensor.softmax

    def counted(scores, *arguments):
        largest.append(scores.numel())
        return softmax(scores, *arguments)

    monkeypatch.setattr(attention, "MOST_VALUES", 5 * HEADS * 13)
    monkeypatch.setattr(torch.Tensor, "softmax", counted)
    torch.testing.assert_close(summed(backbone, images, range(BLOCKS)), whole)
    assert max(largest) == attention.MOST_VALUES


def test_each_call_of_the_network_starts_anew(backbone, images):
    one = AttentionSum(range(BLOCKS))
    with torch.no_grad(), summed_attention(backbone, one):
        backbone(images)
        backbone(images[:1])
    assert one.value.shape == (1, 13, 13)
    torch.testing.assert_close(one.value, summed(backbone, images[:1], range(BLOCKS)))


def test_the_network_computes_as_without_sums(backbone, images):
    with torch.no_grad():
        plain = backbone(images)["c4"]
        with summed_attention(backbone, AttentionSum(range(BLOCKS))):
            observed = backbone(images)["c4"]
    assert torch.equal(plain, observed)
    assert all(block.attn.fused_attn for block in backbone.network.blocks)
    assert not any(block.attn.qkv._forward_hooks for block in backbone.network.blocks)


def test_attention_in_bfloat16_is_nearly_equal(backbone, images, expected):
    backbone.halved = True
    attention = summed(backbone, images, range(BLOCKS))
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention.double(), expected.sum(0), atol=0.02, rtol=0.05)


def test_padded_images_have_attention_on_whole_patches(backbone):
    images = torch.randn(1, 3, 37, 50)
    one = AttentionSum([3], rows=slice(0, 1), columns=slice(1, None))
    with torch.no_grad(), summed_attention(backbone, one):
        encoded = backbone.encode(images)
    assert encoded.grid == (3, 4)
    maps = one.value.unflatten(2, encoded.grid)
    assert backbone.on_image(maps, (37, 50)).shape == (1, 1, 3, 4)
