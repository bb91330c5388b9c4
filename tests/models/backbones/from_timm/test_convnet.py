"""Tests of convolutional networks of timm as backbones, against timm's own forward passes."""

from __future__ import annotations

import dataclasses
import re

import pytest
import timm
import torch
from wsss.platform.errors import InputError
from wsss.platform.models.backbones import STAGES, build
from wsss.platform.models.backbones.from_timm import convnet
from wsss.platform.models.classifier import Classifier, classification_loss
from wsss.platform.stages.inference.folding import fused

NAMES = ("test_resnet", "test_convnext", "test_efficientnet")
UNDILATED = "efficientvit_b0"
"""A network that takes no output stride."""


@pytest.fixture(params=NAMES)
def backbone(request):
    torch.manual_seed(0)
    return build(f"timm:{request.param}").eval()


def varied(network):
    """Return a network whose batch normalisation has random statistics and weights."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@torch.no_grad()
def test_stages_are_those_of_timm(backbone):
    varied(backbone)
    images = torch.randn(2, 3, 64, 96)
    stages = backbone(images)
    own = backbone.normalized(images)
    theirs = timm.create_model(backbone.name, features_only=True, output_stride=16)
    state = backbone.network.state_dict()
    renamed = {re.sub(r"^(stem|stages)\.(\d)", r"\1_\2", key): v for key, v in state.items()}
    assert not theirs.load_state_dict({**state, **renamed}, strict=False).missing_keys
    for name, expected in zip(STAGES[:3], theirs.eval()(own)[-4:], strict=False):
        torch.testing.assert_close(stages[name], expected, atol=1e-5, rtol=1e-4)
    pooled = backbone.network.forward_features(own)
    torch.testing.assert_close(stages["c4"], pooled, atol=1e-5, rtol=1e-4)
    assert tuple(x.shape[1] for x in stages.values()) == backbone.channels
    assert backbone.strides == (4, 8, 16, 16)


@pytest.mark.parametrize("name", [*NAMES, UNDILATED])
@torch.no_grad()
def test_grids_of_all_sizes_are_rounded_up(name):
    backbone = build(f"timm:{name}").eval()
    for size in ((33, 71), (64, 40), (7, 9)):
        stages = backbone(torch.randn(1, 3, *size))
        for stage, stride in zip(stages.values(), backbone.strides, strict=True):
            assert stage.shape[2:] == tuple(-(-side // stride) for side in size)


def middles(network, images, levels):
    """Return stages that hold the column of each cell's middle, in pixels."""
    out = []
    for stride in (4, 8, 16, 32)[: len(levels)]:
        rows, columns = (n // stride for n in images.shape[2:])
        out.append(((torch.arange(columns) + 0.5) * stride).expand(len(images), 1, rows, columns))
    return out


@pytest.mark.parametrize("width", [65, 101, 127])
@torch.no_grad()
def test_stages_of_a_padded_image_leave_each_column_in_its_place(monkeypatch, width):
    """The middles of the cells are symmetrical, so the mirror image has the same."""
    backbone = build(f"timm:{UNDILATED}").eval()
    backbone.layout = dataclasses.replace(backbone.layout, any_size=False)
    backbone.strides = (4, 8, 16, 32)
    monkeypatch.setattr(convnet, "stages_of", middles)
    stages = backbone(torch.zeros(1, 3, 64, width))
    for (name, stage), stride in zip(stages.items(), backbone.strides, strict=True):
        columns = -(-width // stride)
        exact = (torch.arange(columns) + 0.5) * width / columns
        reached = exact.clamp(min=stride / 2)  # nothing lies left of the first cell's middle
        torch.testing.assert_close(stage[0, 0, 0], reached, atol=1e-3, rtol=0, msg=name)


@torch.no_grad()
def test_bfloat16_gives_nearly_the_same_stages_in_float32(backbone):
    images = torch.randn(2, 3, 48, 61)
    exact = backbone(images)
    backbone.halved = True
    for name, halved in backbone(images).items():
        assert halved.dtype == torch.float32
        cosine = torch.cosine_similarity(halved.flatten(), exact[name].flatten(), dim=0)
        assert cosine > 0.99


def test_each_parameter_is_in_one_stage_or_takes_no_gradient(backbone):
    held = [p for stage in STAGES for p in backbone.stage_parameters(stage)]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in backbone.parameters() if p.requires_grad}
    network = Classifier(backbone, 3).train()
    classification_loss(network, torch.randn(2, 3, 64, 64), torch.ones(2, 3)).backward()
    assert all(p.grad is not None for p in held)


@pytest.mark.parametrize("frozen", [1, 3])
def test_frozen_stages_get_no_gradient(backbone, frozen):
    network = Classifier(backbone, 3, frozen).train()
    classification_loss(network, torch.randn(2, 3, 32, 32), torch.ones(2, 3)).backward()
    for number, stage in enumerate(STAGES):
        gradients = [p.grad is None for p in backbone.stage_parameters(stage)]
        assert all(none == (number < frozen) for none in gradients)


@torch.no_grad()
def test_stages_come_one_after_another(backbone):
    images = torch.randn(1, 3, 48, 48)
    whole = backbone(images)
    for count in (1, 2, 3):
        first = backbone.first_stages(images, count)
        assert list(first) == list(STAGES[:count])
        assert all(torch.equal(first[name], whole[name]) for name in first)


@torch.no_grad()
def test_a_dilated_backbone_has_the_weights_and_stages_of_timms_at_stride_8(backbone):
    varied(backbone)
    parameters = backbone.network.state_dict()
    backbone.stage_parameters("c1")[0].requires_grad_(False)
    backbone.dilate()
    assert backbone.strides == (4, 8, 8, 8)
    assert not backbone.stage_parameters("c1")[0].requires_grad
    theirs = timm.create_model(backbone.name, num_classes=0, output_stride=8).eval()
    theirs.load_state_dict(parameters)
    images = torch.randn(1, 3, 64, 64)
    expected = theirs.forward_features(backbone.normalized(images))
    torch.testing.assert_close(backbone.eval()(images)["c4"], expected, atol=1e-5, rtol=1e-4)


def test_a_network_without_output_strides_keeps_its_own():
    with torch.device("meta"):
        backbone = build(f"timm:{UNDILATED}")
    assert backbone.strides == (4, 8, 16, 32)
    with pytest.raises(InputError, match=f"timm:{UNDILATED} cannot be dilated.*upernet"):
        backbone.dilate()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("test_resnet", ["BasicBlock"]),
        ("test_convnext", []),
        ("test_efficientnet", []),  # SiLU
        ("mobilenetv2_035", ["BatchNormAct2d"]),  # ReLU6 after the last convolution only
    ],
)
def test_rectified_blocks_are_those_whose_outputs_are_not_negative(name, blocks):
    backbone = build(f"timm:{name}").train()
    rectified = backbone.rectified_blocks("c4")
    assert [type(block).__name__ for block in rectified] == blocks
    assert backbone.training
    outputs = []
    for block in rectified:
        block.register_forward_hook(lambda *x: outputs.append(x[2]))
    with torch.no_grad():
        c4 = backbone(torch.randn(2, 3, 64, 64))["c4"]
    assert all(x.min() >= 0 for x in outputs)
    assert not outputs or torch.equal(outputs[-1], c4)


def test_a_backbone_without_values_stays_as_it_was_when_its_blocks_are_tried():
    with torch.device("meta"):
        backbone = build("timm:test_resnet").train()
        state = torch.get_rng_state()
        blocks = backbone.rectified_blocks("c4")
    assert backbone.training
    assert not any(module._forward_hooks for module in backbone.modules())
    assert torch.equal(torch.get_rng_state(), state)
    own = list(backbone.modules())
    assert [type(block).__name__ for block in blocks] == ["BasicBlock"]
    assert all(any(block is module for module in own) for block in blocks)


@pytest.mark.parametrize("name", [*NAMES, "mobilenetv2_035", "resnetv2_18", "repvit_m0_9"])
@torch.no_grad()
def test_batch_normalisation_is_absorbed_with_its_activation(name):
    torch.manual_seed(0)
    network = varied(Classifier(build(f"timm:{name}"), 3)).eval()
    folded = fused(network)
    images = torch.randn(2, 3, 64, 48)
    for stage, expected in network.features(images).items():
        torch.testing.assert_close(folded.features(images)[stage], expected, atol=1e-4, rtol=1e-3)
    left = sum(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    before = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert left < before or not before or name == "repvit_m0_9"  # it adds branches before norms


@torch.no_grad()
def test_a_normalisation_that_a_hook_looks_at_is_not_absorbed():
    network = Classifier(build("timm:mobilenetv2_035"), 3).eval()
    (block,) = network.backbone.rectified_blocks("c4")
    block.register_forward_hook(lambda module, inputs, output: output.clamp(max=0.1))
    assert fused(network).features(torch.randn(1, 3, 64, 64))["c4"].max() <= 0.1
