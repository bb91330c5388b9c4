"""Stages, strides and names of the backbones; what training may change."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from wsss.platform.models.backbones import BACKBONES, STAGES, build
from wsss.platform.models.classifier import Classifier, classification_loss

NAMES = tuple(BACKBONES)
NORMALISED = ("resnet18", "mobilenet_v2")


@pytest.mark.parametrize("size", [(64, 64), (33, 71)])
@pytest.mark.parametrize("name", NAMES)
def test_stages_have_their_channels_and_strides(name, size):
    with torch.device("meta"):
        body = build(name).eval()
        stages = body(torch.zeros(2, 3, *size))
    assert tuple(stages) == STAGES
    for stage, channels, stride in zip(stages.values(), body.channels, body.strides, strict=True):
        assert stage.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("name", NAMES)
def test_the_stages_hold_every_parameter_once(name):
    with torch.device("meta"):
        body = build(name)
    held = [id(p) for s in STAGES for m in body.stage_modules(s) for p in m.parameters()]
    assert sorted(held) == sorted(id(p) for p in body.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "small"])
def test_parameters_are_called_as_in_torchvision(name):
    with torch.device("meta"):
        own = build(name).state_dict()
        theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    assert {k: v.shape for k, v in own.items()} == {
        k: v.shape for k, v in theirs.items() if not k.startswith(("fc.", "classifier."))
    }


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'vgg'.*resnet18.*mobilenet_v2.*small"):
        build("vgg")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "small"])
def test_c4_is_not_negative(name):
    torch.manual_seed(0)
    with torch.no_grad():
        c4 = build(name).eval()(torch.randn(1, 3, 48, 48))["c4"]
    assert c4.min() >= 0
    assert c4.max() > 0


@pytest.mark.parametrize("frozen", [0, 1, 2, 4])
@pytest.mark.parametrize("name", ["resnet18", "small"])
def test_frozen_stages_get_no_gradient(name, frozen):
    torch.manual_seed(0)
    network = Classifier(build(name), 3, frozen).train()
    classification_loss(network, torch.randn(2, 3, 32, 32), torch.ones(2, 3)).backward()
    for number, stage in enumerate(STAGES):
        parameters = [p for m in network.backbone.stage_modules(stage) for p in m.parameters()]
        assert all((p.grad is None) == (number < frozen) for p in parameters)
    assert network.head.weight.grad is not None
    grouped = [p for g in network.groups(10, 0.1, 0) for p in g["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", NORMALISED)
def test_training_leaves_the_statistics_of_normalisation_alone(name):
    torch.manual_seed(0)
    network = Classifier(build(name), 3).train()
    before = {k: v.clone() for k, v in network.named_buffers()}
    weights = network.head.weight.detach().clone()
    optimizer = torch.optim.SGD(network.groups(10, 0.1, 1e-4), lr=0.1)
    classification_loss(network, torch.randn(2, 3, 32, 32), torch.ones(2, 3)).backward()
    optimizer.step()
    assert before
    assert all(torch.equal(v, before[k]) for k, v in network.named_buffers())
    assert not torch.equal(weights, network.head.weight)
    affine = [m.weight.grad for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(g is not None for g in affine)


def test_the_head_learns_faster():
    network = Classifier(build("small"), 3)
    body, head = network.groups(10, 0.1, 1e-4)
    assert (body["lr"], head["lr"]) == (0.1, 1.0)
    assert [p.shape for p in head["params"]] == [(3, 128, 1, 1)]
    assert len(Classifier(build("small"), 3, 4).groups(10, 0.1, 0)) == 1


def test_logits_are_the_mean_of_the_activations():
    torch.manual_seed(0)
    network = Classifier(build("small"), 3).eval()
    images = torch.randn(2, 3, 40, 56)
    with torch.no_grad():
        logits, maps = network(images), network.activations(images)
    torch.testing.assert_close(logits, maps.mean((2, 3)), atol=1e-5, rtol=1e-4)
    assert network.class_weights.shape == (3, 128)
