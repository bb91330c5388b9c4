"""Tests of the decoder of SSC, and of the features by which its picture is compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from narrow_networks import narrow_vgg19
from wsss.methods.ssc import SSC, Reconstruction, SSCConfig
from wsss.methods.ssc.reconstruction import LayerNorm, published_stages
from wsss.methods.ssc.suppression import Suppression
from wsss.platform.errors import InputError
from wsss.platform.method import find_method, join_methods
from wsss.platform.models.backbones import build

CLASSES = 3


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_decoder_has_as_many_parameters_as_the_paper_says():
    decoder = Reconstruction(classes=20)
    assert sum(p.numel() for p in decoder.parameters()) == 4_631_811
    with torch.no_grad():
        picture = decoder(torch.randn(2, 20, 4, 6))
    assert picture.shape == (2, 3, 64, 96)
    assert picture.abs().max() <= 1


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32, 64])
def test_the_picture_is_larger_by_the_stride(stride):
    with torch.no_grad():
        picture = Reconstruction(3, stride)(torch.randn(1, 3, 2, 3))
    assert picture.shape == (1, 3, 2 * stride, 3 * stride)


def test_layer_norm_follows_that_of_munit():
    x, layer = noise(0, 2, 3, 4, 5).float(), LayerNorm(3)
    result = layer(x)
    for b in range(2):
        expected = (x[b] - x[b].mean()) / (x[b].std(unbiased=True) + 1e-5)
        torch.testing.assert_close(result[b], expected * layer.gamma[:, None, None])


def test_vgg_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "vgg.pth")
    method = SSC(SSCConfig(vgg=str(tmp_path / "vgg.pth")))
    with pytest.raises(InputError, match="does not fit vgg19"):
        assert method._published
    cam = find_method("cam")
    for checked in (method, join_methods([cam(cam.Config()), method])):
        with pytest.raises(InputError, match="does not fit vgg19"):
            checked.check_files()
    SSC(replace(method.settings, comparison="l1")).check_files()


def test_the_check_of_files_leaves_a_method_small(vgg19):
    method = SSC(SSCConfig(vgg=vgg19[1]))
    method.check_files()
    assert "_published" not in vars(method), "the method is sent to the workers"


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory):
    """Yield the layers of a VGG-19 with a quarter of its channels and random weights, and the file
    of these weights."""
    from torchvision.models import vgg

    with narrow_vgg19():
        torch.manual_seed(0)
        layers = vgg.make_layers(vgg.cfgs["E"])
        path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
        torch.save({f"features.{k}": v for k, v in layers.state_dict().items()}, path)
        yield layers.eval(), str(path)


def test_another_backbone_compares_images_and_is_not_trained(tmp_path, batch_of):
    torch.manual_seed(0)
    other = build("small")
    torch.save(other.state_dict(), tmp_path / "small.pth")
    options = {"compared_backbone": "small", "compared_weights": str(tmp_path / "small.pth")}
    method = SSC(SSCConfig(**options, delta=1.0, modulation=0, picture=2))
    network = method.network(CLASSES, build("small")).train()
    batch = batch_of([[1, 0, 1]])
    method.losses(network, batch, 0.5)["reconstruction"].backward()
    assert all(p.grad is None for p in method._published.parameters())
    x = torch.randn(1, 3, 32, 32)
    expected = other.eval().first_stages(x, 2)["c2"]
    torch.testing.assert_close(
        published_stages("small", options["compared_weights"])(x)[1], expected
    )


def test_the_trained_backbone_compares_images_without_suppression(batch_of):
    """So the loss is that of the same network without suppression."""
    losses = []
    for delta in (1.0, 0.3):
        torch.manual_seed(0)
        method = SSC(SSCConfig(delta=delta, modulation=0, picture=2))
        network = method.network(CLASSES, build("small")).train()
        maps = torch.randn(3, CLASSES, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            loss = method._reconstruction(network, maps, batch_of([[1, 0, 1]] * 3))
        losses.append(float(loss))
        if delta < 1:
            assert network.extra("suppression", Suppression).started
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"compared_backbone": "small"},
        {"compared_weights": "x"},
        {"compared_backbone": "small", "compared_weights": "x", "vgg": "y"},
    ],
)
def test_the_comparison_has_one_network(options):
    with pytest.raises(InputError, match=r"ssc\.(compared_backbone|compared_weights).*; set"):
        SSC(SSCConfig(**options)).network(CLASSES, build("small"))


@pytest.mark.parametrize(("taps", "place"), [(None, 0), ("last", -1)])
def test_vgg_is_tapped_in_each_block(vgg19, taps, place):
    """The tap of a block lies after its first activation, or after its last, before the pooling."""
    layers, path = vgg19
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tapped = SSC(SSCConfig(vgg=path, taps=taps))._published(x)
    expected, block = [], []
    for layer in layers:
        if isinstance(layer, torch.nn.MaxPool2d):
            expected.append(block[place])
            block = []
        x = layer(x.clone())
        if isinstance(layer, torch.nn.ReLU):
            block.append(x.clone())
    assert len(tapped) == 5
    for a, b in zip(tapped, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_reconstruction_follows_the_formula(vgg19, batch_of):
    _, path = vgg19
    torch.manual_seed(0)
    method = SSC(SSCConfig(vgg=path, delta=1.0, picture=2))
    network = method.network(CLASSES, build("small"))
    batch = batch_of([[1, 0, 1], [0, 1, 0]])
    scores = torch.randn(2, CLASSES, 4, 4)
    loss = method._reconstruction(network, scores, batch)
    small = batch.images.reshape(2, 3, 16, 2, 16, 2).mean((3, 5))
    picture = network.extras["ssc"](scores)
    pairs = zip(method._published(picture), method._published(small), strict=True)
    shares = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    expected = sum(
        share * (a.double() - b.double()).abs().sum() / a.numel()
        for share, (a, b) in zip(shares, pairs, strict=True)
    )
    torch.testing.assert_close(loss.double(), expected)
