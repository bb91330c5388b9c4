"""Tests of the backbones: stages, strides, names of parameters, and what training may change."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from wsss.platform.errors import InputError
from wsss.platform.models.backbones import BACKBONES, STAGES, build
from wsss.platform.models.backbones.wide_resnet import _Block
from wsss.platform.models.classifier import Classifier, classification_loss

NAMES = tuple(BACKBONES)
NORMALISED = ("resnet18", "mobilenet_v2")


@pytest.mark.parametrize("size", [(64, 64), (33, 71)])
@pytest.mark.parametrize("name", NAMES)
def test_stages_have_their_channels_and_strides(name, size):
    with torch.device("meta"):
        backbone = build(name).eval()
        stages = backbone(torch.zeros(2, 3, *size))
    assert tuple(stages) == STAGES
    for stage, channels, stride in zip(
        stages.values(), backbone.channels, backbone.strides, strict=True
    ):
        assert stage.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("name", NAMES)
def test_the_stages_hold_every_parameter_once(name):
    with torch.device("meta"):
        backbone = build(name)
    held = [id(p) for stage in STAGES for p in backbone.stage_parameters(stage)]
    assert sorted(held) == sorted(id(p) for p in backbone.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("small", "wide_resnet38")])
def test_parameters_have_the_names_of_torchvision(name):
    with torch.device("meta"):
        ours = build(name).state_dict()
        theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in theirs.items() if not k.startswith(("fc.", "classifier.", "head."))
    }


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'vgg'.*resnet18.*mobilenet_v2.*small"):
        build("vgg")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg16", "small"])
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
        parameters = network.backbone.stage_parameters(stage)
        assert all((p.grad is None) == (number < frozen) for p in parameters)
    assert network.head.weight.grad is not None
    grouped = [p for g in network.parameter_groups(10, 0.1, 0) for p in g["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", NORMALISED)
def test_training_leaves_the_statistics_of_normalisation_alone(name):
    torch.manual_seed(0)
    network = Classifier(build(name), 3).train()
    before = {k: v.clone() for k, v in network.named_buffers()}
    weights = network.head.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameter_groups(10, 0.1, 1e-4), lr=0.1)
    classification_loss(network, torch.randn(2, 3, 32, 32), torch.ones(2, 3)).backward()
    optimizer.step()
    assert before
    assert all(torch.equal(v, before[k]) for k, v in network.named_buffers())
    assert not torch.equal(weights, network.head.weight)
    affine = [m.weight.grad for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(g is not None for g in affine)


def test_the_head_learns_faster():
    network = Classifier(build("small"), 3)
    backbone, head = network.parameter_groups(10, 0.1, 1e-4)
    assert (backbone["lr"], head["lr"]) == (0.1, 1.0)
    assert [p.shape for p in head["params"]] == [(3, 128, 1, 1)]
    assert len(Classifier(build("small"), 3, 4).parameter_groups(10, 0.1, 0)) == 1


def test_logits_are_the_mean_of_the_activations():
    torch.manual_seed(0)
    network = Classifier(build("small"), 3).eval()
    images = torch.randn(2, 3, 40, 56)
    with torch.no_grad():
        logits, maps = network(images), network.activations(images)
    torch.testing.assert_close(logits, maps.mean((2, 3)), atol=1e-5, rtol=1e-4)
    assert network.class_weights.shape == (3, 128)


def parameter_count(name):
    with torch.device("meta"):
        return sum(p.numel() for p in build(name).parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [  # whole networks, less their classifiers
        ("vgg16", 138_357_544 - (25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000)),
        ("swin_t", 28_288_354 - 769_000),
        ("swin_s", 49_606_258 - 769_000),
        ("swin_b", 87_768_224 - 1_025_000),
        ("resnet50", 25_557_032 - 2_049_000),
    ],
)
def test_backbones_have_the_published_number_of_parameters(name, published):
    assert parameter_count(name) == published


def test_wide_resnet_has_the_number_of_parameters_of_its_blocks():
    """The number is counted by hand from the widths of pairs, wide blocks and bottlenecks."""
    total = 9 * 3 * 64
    width = 64
    for wide, count in ((128, 3), (256, 3), (512, 6)):
        for k in range(count):
            total += 9 * wide * (width + wide) + 2 * (width + wide) + (0 if k else width * wide)
            width = wide
    for inputs, mid, outputs in ((512, 512, 1024), (1024, 512, 1024), (1024, 512, 1024)):
        shortcut = inputs * outputs if inputs != outputs else 0
        total += 9 * mid * (inputs + outputs) + 2 * (inputs + mid) + shortcut
    for inputs, outputs in ((1024, 2048), (2048, 4096)):
        narrow, mid = outputs // 4, outputs // 2
        convs = inputs * narrow + 9 * narrow * mid + mid * outputs + inputs * outputs
        total += convs + 2 * (inputs + narrow + mid)
    assert parameter_count("wide_resnet38") == total + 2 * 4096


def test_wide_resnet_is_dilated_from_its_fifth_block_on():
    with torch.device("meta"):
        backbone = build("wide_resnet38")
    rates = {n: m.dilation[0] for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d)}
    dilated = {n: rate for n, rate in rates.items() if rate > 1}
    assert dilated == {
        "b5.conv_branch2b1": 2,
        "b5_1.conv_branch2a": 2,
        "b5_1.conv_branch2b1": 2,
        "b5_2.conv_branch2a": 2,
        "b5_2.conv_branch2b1": 2,
        "b6.conv_branch2b1": 4,
        "b7.conv_branch2b1": 4,
    }
    assert [backbone.b5.dropout, backbone.b6.dropout, backbone.b7.dropout] == [0.0, 0.3, 0.5]


def test_wide_resnet_has_the_names_of_its_weight_files():
    with torch.device("meta"):
        names = build("wide_resnet38").state_dict()
    for name in (
        "conv1a.weight",
        "b2.conv_branch1.weight",
        "b4_5.bn_branch2b1.running_var",
        "b5.conv_branch1.weight",
        "b6.bn_branch2b2.weight",
        "b7.conv_branch2b2.weight",
        "bn7.bias",
    ):
        assert name in names
    assert "b5_1.conv_branch1.weight" not in names


def test_a_block_of_wide_resnet_follows_its_formula():
    """A block normalises and convolves twice; the shortcut starts after the first normalisation."""
    torch.manual_seed(0)
    block = _Block(4, (6, 8), stride=2, dilation=2, first=1).eval()
    x = torch.randn(1, 4, 9, 9)
    start = block.get_submodule("bn_branch2a")(x).relu()
    inner = nn.functional.conv2d(start, block.get_submodule("conv_branch2a").weight, None, 2, 1)
    inner = block.get_submodule("bn_branch2b1")(inner).relu()
    weight = block.get_submodule("conv_branch2b1").weight
    inner = nn.functional.conv2d(inner, weight, None, 1, 2, 2)
    expected = inner + nn.functional.conv2d(start, block.conv_branch1.weight, None, 2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.usefixtures("narrow_swin")
@pytest.mark.parametrize("size", [(64, 64), (33, 71)])
def test_a_swin_gives_the_outputs_of_torchvisions(size):
    torch.manual_seed(0)
    ours, theirs = build("swin_t").eval(), torchvision.models.swin_t(weights=None).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    images = torch.randn(1, 3, *size)
    padded = nn.functional.pad(images, (0, -size[1] % 4, 0, -size[0] % 4))
    with torch.no_grad():
        expected = theirs.norm(theirs.features(padded)).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours(images)["c4"], expected)


def test_a_swin_cannot_be_dilated():
    with torch.device("meta"):
        backbone = build("swin_t")
    with pytest.raises(InputError, match="upernet"):
        backbone.dilate()
    drops = [m.p for m in backbone.modules() if isinstance(m, torchvision.ops.StochasticDepth)]
    assert drops == pytest.approx([0.3 * k / 11 for k in range(12)])


def test_a_dilated_vgg_keeps_the_grid_of_its_third_pooling():
    with torch.device("meta"):
        backbone = build("vgg16").eval()
        undilated = backbone(torch.zeros(1, 3, 65, 97))["c4"].shape
        backbone.dilate()
        dilated = backbone(torch.zeros(1, 3, 65, 97))["c4"].shape
    assert undilated == (1, 512, 5, 7)
    assert dilated == (1, 512, 9, 13)
    assert backbone.strides == (4, 8, 8, 8)
