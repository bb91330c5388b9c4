"""Fixtures of the tests of methods."""

from __future__ import annotations

import pytest
import torch
from wsss.platform.method import Batch

CLASSES, SIDE = 3, 32


@pytest.fixture
def batch_of():
    """A batch of noise; `valid` counts pixels from the top left, all others are padding."""

    def make(labels, seed=0, valid=SIDE * SIDE):
        labels = torch.tensor(labels, dtype=torch.float32)
        mask = (torch.arange(SIDE * SIDE) < valid).reshape(1, SIDE, SIDE).repeat(len(labels), 1, 1)
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(len(labels), 3, SIDE, SIDE, generator=generator)
        return Batch(images=images * mask.unsqueeze(1), labels=labels, valid=mask)

    return make
