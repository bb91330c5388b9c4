"""Fixtures of the tests of tensor functions."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def tolerance():
    """Return the absolute tolerance, by dtype, for values of about one."""
    return {torch.float16: 4e-3, torch.float32: 1e-5, torch.float64: 1e-12}.__getitem__
