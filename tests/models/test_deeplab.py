"""Tests of DeepLabV2, dilation and the boundary network: sizes, counts and parameter groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from wsss.platform.method import Batch
from wsss.platform.models.backbones import build
from wsss.platform.models.boundary_net import BoundaryNet
from wsss.platform.models.deeplab import DeepLabV2
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter, shrunk


def batch(labels, side=48):
    plane = torch.as_tensor(labels).expand(2, side, side).clone()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, side, side, dtype=torch.bool)
    return Batch(images=images, labels=torch.zeros(2, 3), valid=valid, plane=plane)


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize("depth", [50])
def test_dilation_gives_the_outputs_of_torchvisions(depth):
    """torchvision's own dilated ResNet gives the same numbers from the same weights."""
    import torchvision

    torch.manual_seed(0)
    ours = build(f"resnet{depth}").eval()
    ours.dilate()
    theirs = getattr(torchvision.models, f"resnet{depth}")(
        weights=None, replace_stride_with_dilation=[False, True, True]
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 80)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = layer(x)
    with torch.no_grad():
        c4 = ours(images)["c4"]
    assert c4.shape[2:] == (8, 10)
    torch.testing.assert_close(c4, x.detach())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "small"])
def test_dilation_keeps_weights_and_widths(name):
    original, dilated = build(name), build(name)
    dilated.load_state_dict(original.state_dict())
    dilated.dilate()
    grids = dilated.eval()(torch.randn(1, 3, 64, 64))
    for channels, stride, grid in zip(
        dilated.channels, dilated.strides, grids.values(), strict=True
    ):
        assert grid.shape == (1, channels, 64 // stride, 64 // stride)
    assert dilated.strides[2] == dilated.strides[3] == dilated.strides[1]


def test_the_pyramid_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = DeepLabV2(build("resnet101"), 21)
    assert sum(p.numel() for p in network.aspp.parameters()) == 4 * (2048 * 9 * 21 + 21)
    assert [conv.dilation for conv in network.aspp] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    groups = network.parameter_groups(10.0, 1.0, 5e-4)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(1, 5e-4), (10, 5e-4), (20, 0)]
    norms = {
        id(p) for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    }
    assert not norms & {id(p) for g in groups for p in g["params"]}


def test_views_end_with_the_maximum_over_all():
    network = DeepLabV2(build("small"), 4).eval()
    images = torch.randn(2, 3, 48, 48)
    whole, three, half, best = network.logits_by_view(images, (0.75, 0.5))
    assert whole.shape == best.shape == (2, 4, 6, 6)
    assert three.shape[2:] == (5, 5)
    assert half.shape[2:] == (3, 3)
    assert (best >= whole).all()
    assert len(network.logits_by_view(images, ())) == 1


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "small"])
def test_boundaries_lie_on_the_grid_of_class_maps(name):
    network = BoundaryNet(build(name)).eval()
    assert network(torch.randn(2, 3, 50, 66)).shape == (2, 13, 17)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@torch.no_grad()
def test_grids_are_enlarged_by_their_strides_and_cut(name):
    """The second half of the grids is the same in an image that ends at a multiple of 16."""
    stretched, cut = (BoundaryNet(build(name), 4, e).eval() for e in ("stretch", "irn"))
    cut.load_state_dict(stretched.state_dict())
    whole = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(cut(whole), stretched(whole))
    images = whole[:, :, :50]
    taps = zip(cut.taps, cut.backbone.taps(images), cut.backbone.tap_strides, strict=True)
    grids = [
        F.interpolate(tap(x), [n * stride // 4 for n in x.shape[2:]], mode="bilinear")
        for tap, x, stride in taps
    ]
    expected = cut.join(torch.cat([g[:, :, :13, :16].relu() for g in grids], 1))[:, 0]
    torch.testing.assert_close(cut(images), expected)
    assert (stretched(images) - expected).abs().max() > 1e-3


def test_a_resnet_has_the_five_taps_of_irn():
    backbone = build("resnet50").eval()
    assert backbone.tap_channels == (64, 256, 512, 1024, 2048)
    taps, stages = backbone.taps(torch.zeros(1, 3, 64, 64)), backbone(torch.zeros(1, 3, 64, 64))
    assert [t.shape[2] for t in taps] == [16, 16, 8, 4, 4]
    for tap, stage in zip(taps[1:], stages.values(), strict=True):
        torch.testing.assert_close(tap, stage)


def test_a_frozen_backbone_takes_no_gradient():
    network = Boundaries().network(3, build("mobilenet_v2"), 4).train()
    plane = torch.zeros(48, 48, dtype=torch.long)
    plane[:, 20:] = 1
    loss = torch.stack(list(Boundaries(4).losses(network, batch(plane), 0.0).values())).sum()
    loss.backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    heads = [*network.taps.parameters(), *network.join.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads)
    assert any(p.grad.abs().max() > 0 for p in heads)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("labels", [0, 1, 255])
def test_losses_are_finite_on_labels_of_one_kind(labels, balanced):
    learner = Segmenter(balanced=balanced)
    network = learner.network(3, build("small")).train()
    plane = torch.full((48, 48), labels)
    (loss,) = learner.losses(network, batch(plane), 0.0).values()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert (loss == 0) == (labels == 255)


def test_balance_gives_background_and_foreground_the_same_weight():
    """The loss is half the sum of the means over background and over all other pixels, by loops."""
    logits = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 255]).expand(1, 4, 5)
    values = {0: [], 1: []}
    for y in range(4):
        for x in range(5):
            if labels[0, y, x] != 255:
                shares = logits[0, :, y, x].softmax(0)
                label = int(labels[0, y, x])
                values[min(label, 1)].append(-shares[label].log().item())
    means = [sum(v) / len(v) for v in values.values()]
    balanced = Segmenter(balanced=True)._cross_entropy(logits, labels)
    assert balanced.item() == pytest.approx(sum(means) / 2)
    unbalanced = Segmenter()._cross_entropy(logits, labels)
    both = [*values[0], *values[1]]
    assert unbalanced.item() == pytest.approx(sum(both) / len(both))


def test_labels_shrink_to_their_middle_pixels():
    plane = torch.arange(64).reshape(1, 8, 8)
    labels = shrunk(plane, torch.zeros(1, 2, 2))
    assert labels.tolist() == [[[18, 22], [50, 54]]]
