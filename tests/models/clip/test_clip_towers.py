"""Tests of the pieces of CLIP's towers against stock networks and slow references in float64."""

from __future__ import annotations

import math

import pytest
import torch
from memory_peak import peak_of
from open_clip import SimpleTokenizer
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from timm.layers import resample_abs_pos_embed
from torch.nn import functional as F
from wsss.methods.clip_es import softmax_gradcam
from wsss.platform.models.clip import checkpoint, image_tower, text_tower

NATIVE, GRID = (6, 6), (4, 9)


@pytest.fixture(scope="module")
def network(clip_file):
    return checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file).double()


def noise(grid, images=2):
    generator = torch.Generator().manual_seed(1)
    size = (images, 3, 8 * grid[0], 8 * grid[1])
    return torch.randn(size, generator=generator, dtype=torch.float64)


def test_tokens_at_native_size_are_those_of_the_stock_network(network):
    """At this size no position embedding is resized."""
    images = noise(NATIVE)
    stock = network.visual.forward_intermediates(
        images, indices=[2], stop_early=True, output_fmt="NLC", output_extra_tokens=True,
        intermediates_only=True,
    )  # fmt: skip
    expected = torch.cat(
        [stock["image_intermediates_prefix"][0], stock["image_intermediates"][0]], 1
    )
    tokens = image_tower.last_block_tokens(network.visual, images, "clip_es")
    torch.testing.assert_close(tokens, expected, atol=1e-12, rtol=0)


def softmax_attention(block, tokens):
    """Return the attention of each head by loops, `[heads,T,T]`."""
    z = F.layer_norm(tokens, tokens.shape[-1:], block.ln_1.weight, block.ln_1.bias)
    width, heads = z.shape[1], block.attn.num_heads
    size = width // heads
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    query, key = (z @ weight[k : k + width].T + bias[k : k + width] for k in (0, width))
    out = torch.zeros(heads, len(z), len(z), dtype=z.dtype)
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        for i in range(len(z)):
            scores = [query[i, columns] @ key[j, columns] / math.sqrt(size) for j in range(len(z))]
            shares = [math.exp(score) for score in scores]
            out[head, i] = torch.tensor(shares, dtype=z.dtype) / sum(shares)
    return out


@pytest.mark.parametrize("blocks", [1, 3, 9])
@pytest.mark.parametrize("grid", [NATIVE, GRID])
def test_the_mean_attention_equals_slow_softmaxes(network, blocks, grid):
    images = noise(grid, 1)
    attention = image_tower.mean_attention(network.visual, images, "clip_es", blocks)
    tokens = image_tower.first_tokens(network.visual, images, "clip_es")
    by_block = []
    for block in network.visual.transformer.resblocks:
        by_block.append(softmax_attention(block, tokens[0]).mean(0)[1:, 1:])
        tokens = block(tokens)
    expected = torch.stack(by_block[-blocks:]).mean(0)
    torch.testing.assert_close(attention[0].double(), expected, atol=1e-7, rtol=1e-6)
    assert expected.sum(1).max() < 1 + 1e-12  # the class token takes the rest
    assert expected.sum(1).min() < 0.99


def test_a_block_in_pieces_is_the_whole_block(network):
    tokens = image_tower.first_tokens(network.visual, noise(GRID), "clip_es")
    for block in network.visual.transformer.resblocks:
        attended, weights = image_tower.attend(block, tokens)
        after = image_tower.after_attention(block, tokens, attended)
        torch.testing.assert_close(after, block(tokens), atol=1e-12, rtol=0)
        ones = torch.ones(weights.shape[:2], dtype=weights.dtype)
        torch.testing.assert_close(weights.sum(2), ones, atol=1e-12, rtol=0)
        stock = block.attn(*[block.ln_1(tokens)] * 3, need_weights=True)[1]
        torch.testing.assert_close(weights, stock, atol=1e-12, rtol=0)


def test_image_embeddings_are_the_mean_over_patches_after_the_last_block(network):
    tokens = image_tower.first_tokens(network.visual, noise(GRID), "clip_es")
    block = network.visual.transformer.resblocks[-1]
    embeddings = image_tower.image_embeddings(network.visual, tokens, block.ln_1(tokens))
    mean = network.visual.ln_post(block(tokens))[:, 1:].mean(1) @ network.visual.proj
    torch.testing.assert_close(embeddings, mean / mean.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("grid", [(4, 9), (11, 3), (6, 7)])
def test_positions_are_resized_as_each_source_does_it(grid):
    positions = torch.randn(37, 5, generator=torch.Generator().manual_seed(2)).double()
    resized = image_tower.resized_positions(positions, grid, "clip_es")
    assert torch.equal(resized[0], positions[0])
    square = positions[1:].reshape(6, 6, 5)
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, x = ((k + 0.5) * 6 / n - 0.5 for k, n in zip((i, j), grid, strict=True))
            y, x = (min(max(v, 0), 5) for v in (y, x))
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, 5), min(x0 + 1, 5)
            top = square[y0, x0] * (1 - x + x0) + square[y0, x1] * (x - x0)
            bottom = square[y1, x0] * (1 - x + x0) + square[y1, x1] * (x - x0)
            exact = top * (1 - y + y0) + bottom * (y - y0)
            row = resized[1 + i * grid[1] + j]
            torch.testing.assert_close(row, exact.half().double(), atol=1e-3, rtol=1e-3)
    bicubic = image_tower.resized_positions(positions.float(), grid, "timm")
    expected = resample_abs_pos_embed(positions.float()[None], grid, num_prefix_tokens=1)[0]
    torch.testing.assert_close(bicubic, expected)


@pytest.mark.parametrize("kind", ["clip_es", "timm"])
def test_positions_of_the_native_grid_stay_as_they_are(kind):
    positions = torch.randn(37, 5)
    assert image_tower.resized_positions(positions, NATIVE, kind) is positions


def test_images_are_normalised_as_clip_normalises_them():
    images = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    expected = (images.double() / 255 - torch.tensor(image_tower.MEAN)) / torch.tensor(
        image_tower.DEVIATION
    )
    result = image_tower.normalized(images)
    torch.testing.assert_close(result.double(), expected.permute(0, 3, 1, 2), atol=1e-6, rtol=0)


def test_a_grid_is_rounded_up_and_limited_in_patches():
    assert image_tower.grid_of(375, 500, 16, 10_000) == (24, 32)
    assert image_tower.grid_of(384, 512, 16, 768) == (24, 32)
    assert image_tower.grid_of(1, 17, 16, 10_000) == (1, 2)
    rows, columns = image_tower.grid_of(16_000, 8_000, 16, 5_100)
    assert 4_900 < rows * columns <= 5_100
    assert rows / columns == pytest.approx(2, rel=0.05)


def test_the_largest_number_of_patches_is_that_which_the_bound_allows(network):
    def bound(patches):
        linear = image_tower.patch_bytes(network.visual)
        return image_tower.PAIR_BYTES * patches**2 + linear * patches

    for memory in (2**20, 2**30, 8 * 2**30):
        most = image_tower.most_patches(network.visual, memory)
        assert bound(most) <= memory < bound(most + 1)
    assert image_tower.most_patches(network.visual, 1) == 1


@pytest.mark.parametrize(("width", "grid"), [(128, (10, 10)), (384, (10, 10)), (128, (30, 30))])
def test_an_image_takes_no_more_memory_than_the_bound(width, grid):
    """Few patches take most memory for their channels, many patches for their pairs."""
    image = CLIPVisionCfg(layers=4, width=width, patch_size=8, image_size=48)
    stock = CLIP(32, image, CLIPTextCfg(width=64, heads=1, layers=1), quick_gelu=True)
    visual = stock.visual.eval().requires_grad_(False)
    pixels = noise(grid, 1).float()
    texts = F.normalize(torch.randn(30, 32), dim=1)
    with torch.inference_mode():
        computations = {
            "tokens": lambda: image_tower.last_block_tokens(visual, pixels, "timm"),
            "attention": lambda: image_tower.mean_attention(visual, pixels, "timm", 3),
        }
        peaks = {k: peak_of(f, without=visual.parameters()) for k, f in computations.items()}
    tokens = image_tower.last_block_tokens(visual, pixels, "timm")[0]
    gradients = (softmax_gradcam, visual, tokens, texts, 100.0, 20)
    peaks["gradients"] = peak_of(*gradients, without=visual.parameters())
    patches = math.prod(grid)
    bound = image_tower.PAIR_BYTES * patches**2 + image_tower.patch_bytes(visual) * patches
    assert 0.4 * bound < max(peaks.values()) + pixels.nbytes < bound


def test_no_pass_through_a_block_calls_the_attention_of_the_library(network, monkeypatch):
    """On a CPU it would hold the attention of all heads at once, which `Peak` does not see."""
    visual, images = network.visual, noise(GRID)

    def forward(*arguments, **options):
        raise AssertionError("the attention of all heads")

    monkeypatch.setattr(torch.nn.MultiheadAttention, "forward", forward)
    with torch.inference_mode():
        tokens = image_tower.last_block_tokens(visual, images, "timm")
        image_tower.mean_attention(visual, images, "timm", 1)
    image_tower.image_embeddings(visual, tokens, tokens)


def test_a_text_is_the_mean_of_its_sentences(network):
    texts = [["a photo of a cat", "a clean origami cat"], ["sky"]]
    embeddings = text_tower.text_embeddings(network, texts)
    tokens = SimpleTokenizer()(texts[0])
    assert tokens.argmax(1).tolist() == [(row == 49407).nonzero()[0, 0].item() for row in tokens]
    units = F.normalize(network.encode_text(tokens), dim=1)
    torch.testing.assert_close(embeddings[0], F.normalize(units.mean(0), dim=0))
    norms = torch.ones(2, dtype=embeddings.dtype)
    torch.testing.assert_close(embeddings.norm(dim=1), norms)
    assert text_tower.scale(network) == pytest.approx(1 / 0.07, rel=1e-3)
