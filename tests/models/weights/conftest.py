"""Fixtures of weight files and of networks that read them."""

from __future__ import annotations

import copy
import functools
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from narrow_networks import narrow_resnets
from wsss.platform.errors import InputError
from wsss.platform.models import weights
from wsss.platform.models.backbones import build

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode


@functools.cache
def _backbone():
    torch.manual_seed(0)
    with narrow_resnets():
        return build("resnet18")


@functools.cache
def _state():
    torch.manual_seed(1)
    with narrow_resnets():
        return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture
def backbone():
    """Return a narrow ResNet-18 of a test's own."""
    return copy.deepcopy(_backbone())


@pytest.fixture
def state():
    """Return the tensors of another such network with a head, which a test may change."""
    return {name: value.clone() for name, value in _state().items()}


@pytest.fixture
def saved(tmp_path):
    def save(value, name="weights.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.fixture
def refused(backbone):
    """Return a check that a file is refused, named in the message, and not loaded at all."""

    def check(path, *messages, key=None):
        before = {k: v.clone() for k, v in backbone.state_dict().items()}
        with pytest.raises(InputError) as caught:
            weights.load(backbone, path, "resnet18", key)
        for text in (str(path), *messages):
            assert text in str(caught.value)
        assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    return check
