"""Tests of hierarchical features: width, gradient and unit length."""

from __future__ import annotations

import torch
from wsss.platform.models.backbones import build
from wsss.platform.models.classifier import Classifier
from wsss.platform.models.hierarchical_features import (
    HierarchicalFeatures,
    add_hierarchical_features,
    hierarchical_features,
    join_grids,
)


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_features_are_768_wide_and_send_the_backbone_no_gradient():
    backbone = build("small")
    stages = backbone(torch.randn(2, 3, 32, 32))
    features = HierarchicalFeatures(backbone.channels)
    out = features(stages)
    assert out.shape == (2, 768, *stages["c4"].shape[2:])
    out.square().sum().backward()
    assert all(p.grad is None for p in backbone.parameters())
    assert all(conv.weight.grad is not None for conv in features.convs)


def test_each_stage_has_unit_length_where_grids_agree():
    stages = [noise(k, 2, 4 + k, 3, 5) for k in range(3)]
    lengths = [p.norm(dim=1) for p in join_grids(stages).split([4, 5, 6], 1)]
    for length in lengths:
        torch.testing.assert_close(length, torch.ones_like(length))


def test_a_network_gets_hierarchical_features_once_and_works_without_them():
    network = Classifier(build("small"), 3)
    stages = network.features(torch.randn(1, 3, 32, 32))
    raw = hierarchical_features(network, stages)
    assert raw.shape[1] == sum(network.backbone.channels)
    add_hierarchical_features(network)
    first = network.extras["hierarchical"]
    add_hierarchical_features(network)
    assert network.extras["hierarchical"] is first
    assert hierarchical_features(network, stages).shape[1] == first.width == 768
