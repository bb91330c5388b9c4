"""Fixtures of the tests of methods."""

from __future__ import annotations

import pytest
import torch
from wsss.platform.learner import OUTSIDE, Batch

CLASSES, SIDE = 3, 32


@pytest.fixture
def batch_of():
    """A batch of noise with 16 square superpixels; `valid` counts pixels from the top left, all
    others are padding."""

    def make(labels, seed=0, valid=SIDE * SIDE):
        labels = torch.tensor(labels, dtype=torch.float32)
        mask = (torch.arange(SIDE * SIDE) < valid).reshape(1, SIDE, SIDE).repeat(len(labels), 1, 1)
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(len(labels), 3, SIDE, SIDE, generator=generator)
        cells = torch.arange(SIDE) // (SIDE // 4)
        ids = torch.where(mask, 4 * cells[:, None] + cells, OUTSIDE)
        pixels = images * mask.unsqueeze(1)
        return Batch(images=pixels, labels=labels, valid=mask, plane=ids)

    return make
