"""The pieces of a CLIP network's image tower: tokens, attentions, and the way from the last block.

Stock networks keep the position embedding of their training size and give no attentions.
Shapes: B images, T = 1 + h w tokens, the class token first, D channels, E channels of an
embedding, h w the grid of patches.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's training images, for RGB in 0..1."""
PositionEmbedding = Literal["clip_es", "timm"]
"""How a position embedding is resized. clip_es: bilinearly, then rounded to float16, as in the code
of CLIP-ES; timm: bicubically with antialiasing, as timm does it."""
PAIR_BYTES = 32
"""Upper bound of the bytes that a pair of patches takes while attentions are computed and read."""
INNER, WIDTH = 6, 10
"""Upper bound of the float32 arrays with the MLP's inner channels, and with those of tokens, that a
block holds at once, with gradients or without."""


def normalized(images: Tensor) -> Tensor:
    """Return uint8 images `[B,H,W,3]` as the network takes them, float32 `[B,3,H,W]`."""
    pixels = images.permute(0, 3, 1, 2).float() / 255
    mean, deviation = (pixels.new_tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def patch_size(visual: Any) -> int:
    """Return the side of a patch, pixels."""
    return int(visual.conv1.kernel_size[0])


def patch_bytes(visual: Any) -> int:
    """Return an upper bound of the bytes that a patch takes beside its pairs.

    The QuickGELU of the MLP holds most of them, and gradients more than inference.
    """
    block = visual.transformer.resblocks[-1]
    inner, width = block.mlp.c_fc.out_features, block.mlp.c_fc.in_features
    return 4 * (INNER * int(inner) + WIDTH * int(width) + 2 * 3 * patch_size(visual) ** 2)


def grid_of(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Return the grid of patches of an image, which is resized to whole patches.

    Args:
        height, width: size of the image, pixels.
        patch: side of a patch, pixels.
        most: largest number of patches of an image; a larger image has a coarser grid.
    """
    rows, columns = -(-height // patch), -(-width // patch)
    if rows * columns <= most:
        return rows, columns
    factor = (most / (rows * columns)) ** 0.5
    return max(1, int(rows * factor)), max(1, int(columns * factor))


def most_patches(visual: Any, most_bytes: int) -> int:
    """Return the largest number of patches of an image that may take so many bytes; at least 1."""
    linear = patch_bytes(visual)
    root = math.isqrt(linear**2 + 4 * PAIR_BYTES * most_bytes)
    return max(1, (root - linear) // (2 * PAIR_BYTES))


def resized_positions(positions: Tensor, grid: tuple[int, int], kind: PositionEmbedding) -> Tensor:
    """Return a position embedding for another grid; the row of the class token stays as it is.

    Args:
        positions: `[T,D]` for a square grid.
        grid: (h, w).
        kind: how the rows of the patches are resized.

    Returns:
        `[1+hw,D]`; `positions` itself for the grid that it has.
    """
    side = round((len(positions) - 1) ** 0.5)
    if grid == (side, side):
        return positions
    square = positions[1:].T.reshape(1, -1, side, side)
    if kind == "clip_es":
        resized = F.interpolate(square, grid, mode="bilinear", align_corners=False)
        resized = resized.half().to(positions)
    else:
        resized = F.interpolate(square, grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([positions[:1], resized[0].flatten(1).T])


def first_tokens(visual: Any, images: Tensor, kind: PositionEmbedding) -> Tensor:
    """Return the tokens that enter the first block, `[B,T,D]`, of images of whole patches."""
    patches = visual.conv1(images)
    grid = patches.shape[2], patches.shape[3]
    tokens = patches.flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.to(tokens).expand(len(tokens), 1, -1)
    positions = resized_positions(visual.positional_embedding, grid, kind)
    out: Tensor = visual.ln_pre(torch.cat([class_token, tokens], 1) + positions)
    return out


def last_block_tokens(visual: Any, images: Tensor, kind: PositionEmbedding) -> Tensor:
    """Return the tokens that enter the last block, `[B,T,D]`."""
    tokens = first_tokens(visual, images, kind)
    for block in visual.transformer.resblocks[:-1]:
        tokens = after_block(block, tokens)
    return tokens


def mean_attention(visual: Any, images: Tensor, kind: PositionEmbedding, blocks: int) -> Tensor:
    """Return the attention between patches, the mean over heads and over the last blocks.

    Args:
        visual: image tower.
        images: `[B,3,H,W]`, of whole patches.
        kind: how the position embedding is resized.
        blocks: number of last blocks; all blocks of a tower that has fewer.

    Returns:
        Float32 `[B,hw,hw]`, query first, without the class token.
    """
    tokens, total = first_tokens(visual, images, kind), images.new_zeros(())
    resblocks = [*visual.transformer.resblocks]
    blocks = min(blocks, len(resblocks))
    for block in resblocks[:-blocks]:
        tokens = after_block(block, tokens)
    for left, block in zip(range(blocks - 1, -1, -1), resblocks[-blocks:], strict=True):
        attended, attention = attend(block, tokens)
        total = total + attention[:, 1:, 1:].float()
        if left:
            tokens = after_attention(block, tokens, attended)
    return total / blocks


def attend(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result of a block's attention `[B,T,D]`, and its mean over heads `[B,T,T]`.

    One head at a time is held.
    """
    attention = block.attn
    by_head = [part.unbind(1) for part in _projected(attention, block.ln_1(tokens))]
    results, total = [], tokens.new_zeros(())
    for query, key, value in zip(*by_head, strict=True):
        weights = (query @ key.mT * query.shape[2] ** -0.5).softmax(2)
        results.append(weights @ value)
        total = total + weights
    return attention.out_proj(torch.cat(results, 2)), total / attention.num_heads


def attention_result(attention: Any, normed: Tensor) -> Tensor:
    """Return the result of an attention for normalised tokens, both `[B,T,D]`.

    The attention's own forward pass holds the weights of all heads at once on a CPU.
    """
    query, key, value = _projected(attention, normed)
    results = F.scaled_dot_product_attention(query, key, value)
    out: Tensor = attention.out_proj(results.transpose(1, 2).flatten(2))
    return out


def _projected(attention: Any, normed: Tensor) -> list[Tensor]:
    """Return queries, keys and values of normalised tokens, `[B,heads,T,D/heads]` each."""
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    by_head = projected.reshape(*projected.shape[:2], 3, attention.num_heads, -1)
    return [*by_head.transpose(1, 3).unbind(2)]


def after_block(block: Any, tokens: Tensor) -> Tensor:
    """Return the tokens after a block, `[B,T,D]`."""
    return after_attention(block, tokens, attention_result(block.attn, block.ln_1(tokens)))


def after_attention(block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
    """Return the tokens after a block, from those before it and the result of its attention."""
    tokens = tokens + attended
    out: Tensor = tokens + block.mlp(block.ln_2(tokens))
    return out


def image_embeddings(visual: Any, tokens: Tensor, normed: Tensor) -> Tensor:
    """Return the image embeddings that CLIP-ES compares with texts, the mean over patches.

    CLIP itself reads the class token. Here the class token takes part only in attention.

    Args:
        visual: image tower.
        tokens: tokens that enter the last block, `[B,T,D]`.
        normed: these tokens after the block's first normalisation, `[B,T,D]`, which the attention
            alone reads.

    Returns:
        `[B,E]`, of length one.
    """
    block = visual.transformer.resblocks[-1]
    attended = attention_result(block.attn, normed)
    last = visual.ln_post(after_attention(block, tokens, attended)[:, 1:])
    return F.normalize(last.mean(1) @ visual.proj, dim=1)
