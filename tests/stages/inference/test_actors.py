"""Tests of folding batch normalisation, which changes nothing but rounding, and of view sizes."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from wsss.platform.config.experiment import Views
from wsss.platform.errors import InputError
from wsss.platform.models.backbones import STAGES, build
from wsss.platform.models.classifier import Classifier
from wsss.platform.stages.inference import actors
from wsss.platform.stages.inference.actors import view_size
from wsss.platform.stages.inference.folding import fused
from wsss.platform.stages.inference.segmentation import Predict
from wsss.platform.storage.artifact_files import LocalFolder


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


class Branches(nn.Module):
    """Adds two convolutions before one normalisation, as RepViT does."""

    def __init__(self):
        super().__init__()
        self.conv, self.conv1 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.bn(self.conv(x) + self.conv1(x) + x)


def test_a_normalisation_that_reads_more_than_one_convolution_is_not_folded():
    torch.manual_seed(0)
    network = nn.Sequential(Branches(), nn.ReLU()).eval()
    nn.init.normal_(network[0].bn.running_mean, std=0.2)
    nn.init.uniform_(network[0].bn.running_var, 0.5, 2)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(fused(network)(images), network(images))


@pytest.mark.parametrize("size", [1, 16])
def test_few_images_are_decoded_ahead(monkeypatch, size):
    """The images of a slice together may not fit in memory."""
    decoded = []
    monkeypatch.setattr(
        actors, "decode_image", lambda image, id: decoded.append(id) or np.zeros((2, 2, 3), "u1")
    )
    rows = [{"image": b"", "id": str(k)} for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        groups, taken = actors.groups(rows, pool, size, 1000), 0
        for numbers, images in groups:
            assert numbers == list(range(taken, taken + len(images)))
            taken += len(images)
            assert len(decoded) <= taken + max(size, actors.THREADS) + 1
    assert taken == len(rows)


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


@given(
    height=st.integers(1, 9000),
    width=st.integers(1, 9000),
    scale=st.sampled_from([0.5, 1.0, 1.25, 2.0]),
    pixels=st.integers(10_000, 50_000_000),
)
def test_only_a_view_over_the_limit_is_made_smaller(height, width, scale, pixels):
    size = view_size(height, width, scale, pixels)
    if height * width * scale**2 <= pixels:
        assert size == (max(1, round(height * scale)), max(1, round(width * scale)))
    else:
        assert size[0] * size[1] <= max(pixels, *size)
        factor = (pixels / (height * width)) ** 0.5
        assert all(abs(a - b * factor) < 1.001 for a, b in zip(size, (height, width), strict=True))


class Sizes(actors.Actor):
    """An actor without a network."""

    def work(self, piece):
        raise NotImplementedError


def test_views_and_groups_keep_the_limit_of_an_image(monkeypatch):
    threads = torch.get_num_threads()
    actor = Sizes(Views(actors=1), (1.0, 2.0))
    torch.set_num_threads(threads)
    small_network = Classifier(build("small"), 3)
    monkeypatch.setattr(type(small_network.backbone), "pixel_bytes", Views().image_bytes // 600)
    actor.ready(small_network)
    assert actor.most_pixels == 600
    large, small = np.zeros((40, 30, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)
    sizes = [
        [tuple(view.shape) for view in actor.scaled([image], scale)]
        for image in (large, small)
        for scale in (1.0, 0.5, 2.0)
    ]
    assert sizes == [
        [(1, 3, 28, 21)],
        [(1, 3, 20, 15)],
        [(1, 3, 28, 21)],
        [(1, 3, 10, 20)],
        [(1, 3, 5, 10)],
        [(1, 3, 17, 34)],
    ]
    monkeypatch.setattr(actors, "decode_image", lambda image, name: image)
    rows = [{"id": "a", "image": image} for image in (large, small, small, large, small, small)]
    groups = actors.groups(rows, actor.pool, 8, actor.most_pixels)
    assert [numbers for numbers, _ in groups] == [[0], [3], [1, 2, 4], [5]]


@pytest.fixture(scope="module")
def sizes_actor():
    """Return an actor that computes several images at once, as on a GPU."""
    threads = torch.get_num_threads()
    actor = Sizes(Views(actors=1), (1.0, 2.0))
    torch.set_num_threads(threads)
    return actor


@settings(max_examples=50, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scale=st.sampled_from([0.25, 0.5, 1.0, 1.25, 1.5, 2.0, 4.0]),
    images=st.integers(1, 9),
    group_size=st.integers(1, 9),
    pixels=st.integers(400, 3000),
)
def test_several_views_take_no_more_memory_than_one(
    sizes_actor, size, scale, images, group_size, pixels
):
    sizes_actor.group_size, sizes_actor.most_pixels = group_size, pixels
    numbered = [np.full((*size, 3), 20 * number, np.uint8) for number in range(images)]
    batches = list(sizes_actor.scaled(numbered, scale))
    for batch in batches:
        count, _, height, width = batch.shape
        assert count == 1 or count * height * width <= pixels
        assert count <= max(1, round(group_size / scale**2))
    views = torch.cat(batches)
    assert len(views) == images
    assert (views[:, 0, 0, 0].diff() > 0).all()


@pytest.mark.parametrize(
    ("scales", "seen"), [((), [512 / 375]), ((1.0, 0.5), [512 / 375, 256 / 375])]
)
def test_a_segmenter_sees_images_that_fit_a_box(scales, seen):
    views = []

    def scaled(images, scale):
        views.append(scale)
        return [torch.zeros(1, 3, 2, 2)]

    job = SimpleNamespace(scales=scales, fit=(2048, 512))
    actor = SimpleNamespace(job=job, scaled=scaled, _view_logits=lambda view: view)
    Predict._logits(actor, [np.zeros((375, 500, 3), np.uint8)])
    assert views == seen


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_inference_without_enough_memory_says_which_options_to_lower(monkeypatch, error):
    def run(*arguments):
        raise error

    monkeypatch.setattr(actors, "run", run)
    monkeypatch.setattr(actors.gpus, "gpu_share", lambda need: 0.0)
    job = actors.Job(folder=LocalFolder(Path("none")), views=Views(actors=2, image_gib=4))
    message = r"inference needs .*; lower views\.image_gib \(4\), views\.batch_size \(8\) or vi"
    with pytest.raises(InputError, match=message):
        actors.compute(Sizes, job, [], lambda done, total: None)
