"""The attention of a vision transformer, summed over heads and blocks while it computes.

Shapes: B batch, T tokens (prefix tokens first), d channels of a head, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

MOST_VALUES = 2**22
"""Most attention values of all heads together that are computed at once."""


class AttentionSum:
    """The sum over some blocks of the attention of a network, averaged over heads.

    A row is the token that asks (query), a column the token that it looks at (key). A whole row
    adds up to the number of blocks.

    Args:
        blocks: numbers of the blocks, from 0.
        rows: the tokens whose rows are kept.
        columns: the tokens whose columns are kept.
    """

    def __init__(
        self,
        blocks: Collection[int],
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> None:
        self.blocks, self.rows, self.columns = frozenset(blocks), rows, columns
        self._value: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The sum, float32 `[B,R,C]`; the network must have computed before."""
        assert self._value is not None, "the network has not computed yet"
        return self._value

    def start(self) -> None:
        """Forget the sum before the network computes."""
        self._value = None

    def add(self, query: Tensor, key: Tensor, scale: float) -> None:
        """Add the attention of one block, image by image, some rows at a time.

        Args:
            query: `[B,heads,T,d]`.
            key: `[B,heads,T,d]`.
            scale: factor on the products of queries and keys.
        """
        query = query[:, :, self.rows]
        batch, heads, rows = query.shape[:3]
        columns = len(range(*self.columns.indices(key.shape[2])))
        if self._value is None:
            self._value = query.new_zeros((batch, rows, columns), dtype=torch.float32)
        step = max(1, MOST_VALUES // (heads * key.shape[2]))
        for image in range(batch):
            keys = key[image].transpose(1, 2)
            for start in range(0, rows, step):
                scores = (query[image, :, start : start + step] * scale) @ keys
                mean = scores.float().softmax(2)[:, :, self.columns].mean(0)
                self._value[image, start : start + step] += mean


@contextmanager
def summed_attention(network: nn.Module, *sums: AttentionSum) -> Iterator[None]:
    """Sum the attention of a network of timm within a `with` block.

    The network goes on to compute with fused attention: what is summed is computed beside it,
    without gradients, from the queries and keys of each block that a sum needs.

    Args:
        network: a `VisionTransformer` of timm, or a backbone that holds one as `network`.
        sums: take the attention of the network's last call.
    """
    transformer: Any = getattr(network, "network", network)
    handles = [transformer.patch_embed.register_forward_pre_hook(partial(_start, sums))]
    for number, block in enumerate(transformer.blocks):
        sums_of_block = [one for one in sums if number in one.blocks]
        if sums_of_block:
            add = partial(_add, block.attn, sums_of_block)
            handles.append(block.attn.qkv.register_forward_hook(add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _start(sums: Collection[AttentionSum], module: nn.Module, inputs: Any) -> None:
    for one in sums:
        one.start()


def _add(
    attention: Any, sums: Collection[AttentionSum], module: nn.Module, inputs: Any, output: Tensor
) -> None:
    """Add the attention that follows from the output `[B,T,3*heads*d]` of a block's projection."""
    with torch.no_grad():
        batch, tokens, _ = output.shape
        parts = output.detach().view(batch, tokens, 3, attention.num_heads, attention.head_dim)
        query, key, _ = parts.permute(2, 0, 3, 1, 4)
        query, key = attention.q_norm(query), attention.k_norm(key)
        for one in sums:
            one.add(query, key, attention.scale)
