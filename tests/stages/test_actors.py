"""Tests of folding batch normalisation, which changes nothing but rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from wsss.platform.models.backbones import STAGES, build
from wsss.platform.models.classifier import Classifier
from wsss.platform.stages.inference.actors import fused


@pytest.fixture(params=["resnet18", "mobilenet_v2"])
def network(request):
    torch.manual_seed(0)
    network = Classifier(build(request.param), 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network


def test_folding_keeps_the_features(network):
    images = torch.randn(2, 3, 65, 48)
    with torch.no_grad():
        unfolded, folded = network.eval().features(images), fused(network).features(images)
    for stage in STAGES:
        scale = unfolded[stage].abs().max()
        assert scale > 0
        assert (unfolded[stage] - folded[stage]).abs().max() <= 1e-4 * scale


def test_no_normalisation_is_left_and_the_original_stays_unchanged(network):
    before = copy.deepcopy(network.state_dict())
    network.train()
    copied = fused(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
    assert not copied.training
    assert network.training
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_network_without_batch_normalisation_gives_the_same_outputs():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(fused(network)(images), network(images))
