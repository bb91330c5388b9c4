"""Fixtures of the tests of networks."""

from __future__ import annotations

import functools

import narrow_networks
import pytest
import torchvision
from wsss.platform.models.weights import misfits


@pytest.fixture
def narrow_resnet(monkeypatch):
    """Make narrow ResNets in a test, which remembers no shapes of others."""
    forgetful = functools.cache(misfits._parameters.__wrapped__)
    monkeypatch.setattr(misfits, "_parameters", forgetful)
    with narrow_networks.narrow_resnets():
        yield


@pytest.fixture
def narrow_swin(monkeypatch):
    """Make a narrow Swin in place of Swin-T."""
    monkeypatch.setattr(torchvision.models, "swin_t", narrow_networks.narrow_swin)
