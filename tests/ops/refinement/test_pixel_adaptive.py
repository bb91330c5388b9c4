"""Tests of pixel-adaptive refinement against loops over pixels in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from wsss.platform.ops.refinement.pixel_adaptive import (
    DILATIONS,
    PAIRS,
    BackgroundPair,
    affinities,
    background_planes,
    growth,
    refined_planes,
    refinement_bytes,
    spread,
)

AFFINITIES = ["par", "pamr"]


def neighbours_of(y, x, height, width, dilations):
    """Return the clamped positions of the neighbours of a pixel, and their distances."""
    out = []
    for d in dilations:
        for dy in (-d, 0, d):
            for dx in (-d, 0, d):
                if dy or dx:
                    row = min(max(y + dy, 0), height - 1)
                    column = min(max(x + dx, 0), width - 1)
                    out.append((row, column, math.hypot(dy, dx)))
    return out


def softmax(values):
    powers = np.exp(np.array(values) - max(values))
    return powers / powers.sum()


def weights_of_pixel(image, y, x, affinity, dilations):
    """Return positions and weights of the neighbours of one pixel of an image `[3,H,W]`."""
    near = neighbours_of(y, x, *image.shape[1:], dilations)
    colours = np.array([image[:, row, column] for row, column, _ in near])
    centre = image[:, y, x]
    if affinity == "pamr":
        samples = np.concatenate([colours, np.tile(centre, (len(dilations), 1))])
        scale = 0.1 * samples.std(0, ddof=1) + 1e-8
        return near, softmax(-(np.abs(colours - centre) / scale).mean(1))
    scale = (colours.std(0, ddof=1) + 1e-8) * 0.3
    similar = softmax(-((np.abs(colours - centre) / scale) ** 2).mean(1))
    lengths = np.array([length for _, _, length in near])
    close = softmax(-((lengths / (lengths.std(ddof=1) + 1e-8) / 0.3) ** 2))
    return near, similar + 0.01 * close


def slow(image, planes, affinity, steps, dilations):
    """Return refined planes `[K,H,W]`, pixel by pixel in float64."""
    image, planes = image.astype(np.float64), planes.astype(np.float64)
    height, width = image.shape[1:]
    for _ in range(steps):
        out = np.zeros_like(planes)
        for y in range(height):
            for x in range(width):
                near, weights = weights_of_pixel(image, y, x, affinity, dilations)
                for (row, column, _), weight in zip(near, weights, strict=True):
                    out[:, y, x] += weight * planes[:, row, column]
        planes = out
    return planes


def drawn(height, width, planes=2, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, height, width, generator=generator) * 255
    images[:, :, : height // 2] += 60
    return images, torch.rand(batch, planes, height, width, generator=generator)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize(
    ("size", "dilations"), [((7, 5), (1, 2, 4)), ((10, 12), DILATIONS), ((30, 9), DILATIONS)]
)
def test_planes_are_those_of_loops_over_clamped_neighbours(affinity, size, dilations):
    """Also where the image is smaller than the farthest neighbour is away."""
    images, planes = drawn(*size)
    out = refined_planes(images, planes, affinity, 2, dilations)[0].numpy()
    expected = slow(images[0].numpy(), planes[0].numpy(), affinity, 2, dilations)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    assert np.abs(expected - planes[0].numpy()).max() > 0.05


def stacked(images, planes, steps):
    """Return planes refined by PAR with all neighbours of all channels in one tensor."""

    def neighbours(values):
        padded = F.pad(values, (24,) * 4, mode="replicate")
        height, width = values.shape[2:]
        views = [
            padded[..., 24 + y : 24 + y + height, 24 + x : 24 + x + width]
            for d in DILATIONS
            for y in (-d, 0, d)
            for x in (-d, 0, d)
            if y or x
        ]
        return torch.stack(views, 2)

    near = neighbours(images)
    distance = (near - images[:, :, None]).abs() / (near.std(2, keepdim=True) + 1e-8) / 0.3
    lengths = torch.tensor(
        [math.hypot(y, x) for d in DILATIONS for y in (-d, 0, d) for x in (-d, 0, d) if y or x]
    )
    position = -((lengths / (lengths.std() + 1e-8) / 0.3) ** 2)
    weights = (-(distance**2).mean(1)).softmax(1) + 0.01 * position.softmax(0)[:, None, None]
    for _ in range(steps):
        planes = (neighbours(planes) * weights[:, None]).sum(2)
    return planes


def test_streaming_gives_the_planes_of_the_stacked_form():
    images, planes = drawn(40, 50, 3, 2)
    out = refined_planes(images, planes)
    assert (out - stacked(images, planes, 10)).abs().max() < 5e-6


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_constant_grows_by_the_known_factor(affinity):
    images, _ = drawn(20, 31)
    out = refined_planes(images, torch.full((1, 1, 20, 31), 0.5), affinity, 10)
    expected = 1.01**10 if affinity == "par" else 1.0
    assert growth(affinity, 10) == pytest.approx(expected)
    assert (out / 0.5 - expected).abs().max() < 1e-5


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_scale_and_offset_of_a_channel_do_not_matter(affinity):
    images, planes = drawn(26, 30)
    scale = torch.tensor([1 / 255, 0.3, 2.0])[:, None, None]
    offset = torch.tensor([-0.5, 40.0, 3.0])[:, None, None]
    out = refined_planes(images, planes, affinity)
    other = refined_planes(images * scale + offset, planes, affinity)
    assert (out - other).abs().max() < 2e-5


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_flat_image_and_an_isolated_pixel_stay_finite(affinity):
    images = torch.full((1, 3, 60, 60), 128.0)
    planes = torch.rand(1, 2, 60, 60, generator=torch.Generator().manual_seed(1))
    flat = refined_planes(images, planes, affinity)
    assert flat.isfinite().all()
    images[0, :, 30, 30] = 255
    lonely = refined_planes(images, planes, affinity)
    assert lonely.isfinite().all()
    assert (lonely - flat).abs().max() > 0


def test_planes_of_half_precision_are_refined_in_single_precision():
    images, planes = drawn(24, 24)
    out = refined_planes(images.half(), planes.half())
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert (out - refined_planes(images, planes)).abs().max() < 0.02


def test_images_of_a_batch_do_not_touch_each_other():
    images, planes = drawn(24, 28, 2, 3)
    out = refined_planes(images, planes)
    for number in range(3):
        one = slice(number, number + 1)
        assert (refined_planes(images[one], planes[one]) - out[one]).abs().max() < 1e-6


def test_the_published_pairs_make_two_backgrounds():
    assert PAIRS["toco"] == BackgroundPair(0.7, 0.25)
    assert PAIRS["afa"] == BackgroundPair(0.55, 0.35)
    planes = torch.tensor([0.2, 0.9])[None, :, None, None]
    out = background_planes(planes, PAIRS["toco"])[0, :, 0, 0].double().numpy()
    for first, score in ((0, 0.7), (3, 0.25)):
        expected = softmax([score, 0.2, 0.9])
        np.testing.assert_allclose(out[first : first + 3], expected, atol=1e-6)


@pytest.mark.parametrize("planes", [1, 21])
@pytest.mark.parametrize("size", [(60, 90), (200, 150)])
def test_the_memory_is_within_its_bound(planes, size):
    from torch.profiler import ProfilerActivity, profile

    images, values = drawn(*size, planes)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        spread(affinities(images), values, DILATIONS, 2)
    held = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    bound = refinement_bytes(*size, planes)
    assert 0.5 * bound < most <= bound
