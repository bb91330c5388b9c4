"""Fixtures of the tests of methods."""

from __future__ import annotations

import pytest
import torch
from wsss.platform.method import PADDING, Batch

CLASSES, SIDE = 3, 32


@pytest.fixture
def batch_of():
    """Return a function that makes a batch of noise with 16 square superpixels and random
    probabilities; the first `valid` pixels are inside, all others are padding."""

    def make(labels, seed=0, valid=SIDE * SIDE):
        labels = torch.tensor(labels, dtype=torch.float32)
        mask = (torch.arange(SIDE * SIDE) < valid).reshape(1, SIDE, SIDE).repeat(len(labels), 1, 1)
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(len(labels), 3, SIDE, SIDE, generator=generator)
        cells = torch.arange(SIDE) // (SIDE // 4)
        ids = torch.where(mask, 4 * cells[:, None] + cells, PADDING)
        pixels = images * mask.unsqueeze(1)
        logits = 3 * torch.randn(len(labels), CLASSES + 1, 4, 4, generator=generator)
        probabilities = logits.softmax(1) * mask[:, None, 4::8, 4::8]
        return Batch(
            images=pixels, labels=labels, valid=mask, plane=ids, probabilities=probabilities
        )

    return make
