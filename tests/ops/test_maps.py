"""Tests of platform.ops.maps against slow loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops import maps
from wsss.platform.ops.maps import (
    background,
    background_at,
    best_class,
    best_plane,
    enlarge_probabilities,
    grid_size,
    merge_flip,
    merge_scales,
    normalize,
)

DTYPES = (torch.float16, torch.float32, torch.float64)
few_examples = settings(max_examples=30, deadline=None)


def random_maps(seed, *shape, dtype=torch.float32):
    out = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return out.to(dtype)


def slow_normalize(maps, eps=1e-5):
    flat = maps.double().reshape(-1, *maps.shape[-2:])
    out = torch.zeros_like(flat)
    for k, plane in enumerate(flat):
        best = max(max(v.item(), 0.0) for v in plane.flatten())
        for y in range(plane.shape[0]):
            for x in range(plane.shape[1]):
                out[k, y, x] = max(plane[y, x].item(), 0.0) / (best + eps)
    return out.reshape(maps.shape)


def slow_bilinear(plane, height, width):
    """Resize a plane by loops: half-pixel centres, edges repeated (align_corners=False)."""
    rows, columns = plane.shape
    plane, out = plane.tolist(), [[0.0] * width for _ in range(height)]

    def corners(k, n, m):
        center = min(max((k + 0.5) * m / n - 0.5, 0.0), m - 1)
        low = math.floor(center)
        return low, min(low + 1, m - 1), center - low

    for y in range(height):
        y0, y1, dy = corners(y, height, rows)
        for x in range(width):
            x0, x1, dx = corners(x, width, columns)
            top = plane[y0][x0] * (1 - dx) + plane[y0][x1] * dx
            bottom = plane[y1][x0] * (1 - dx) + plane[y1][x1] * dx
            out[y][x] = top * (1 - dy) + bottom * dy
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 3), (2, 3, 4, 5)])
def test_normalize_equals_slow_loops(dtype, shape, tolerance):
    maps = random_maps(1, *shape, dtype=dtype)
    out = normalize(maps)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), slow_normalize(maps), atol=tolerance(dtype), rtol=0)


@few_examples
@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.integers(1, 6), st.integers(1, 6))
def test_normalize_of_a_negative_map_is_zero(seed, dtype, height, width):
    maps = -random_maps(seed, 2, height, width, dtype=dtype).abs()
    assert torch.equal(normalize(maps), torch.zeros_like(maps))


@few_examples
@given(st.integers(0, 10**6), st.floats(1.0, 1e4))
def test_normalize_does_not_depend_on_scale(seed, factor):
    maps = random_maps(seed, 1, 2, 5, 4, dtype=torch.float64)
    maps[..., 0, 0] = 1.0
    torch.testing.assert_close(normalize(maps * factor), normalize(maps), atol=2e-5, rtol=0)


@few_examples
@given(st.integers(0, 10**6), st.sampled_from(DTYPES))
def test_normalize_stays_in_range(seed, dtype):
    out = normalize(random_maps(seed, 2, 3, 4, 4, dtype=dtype) * 100)
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_normalize_leaves_its_input_alone():
    maps = random_maps(0, 1, 2, 3, 3)
    before = maps.clone()
    normalize(maps)
    assert torch.equal(maps, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1.0, 0.5, 2.0])
def test_background_equals_slow_loops(dtype, alpha, tolerance):
    maps = random_maps(2, 2, 3, 4, 5, dtype=dtype).sigmoid()
    out = background(maps, alpha)
    assert out.dtype == dtype
    assert out.shape == (2, 1, 4, 5)
    for b in range(2):
        for y in range(4):
            for x in range(5):
                expected = alpha * (1 - max(maps[b, n, y, x].item() for n in range(3)))
                assert abs(out[b, 0, y, x].item() - expected) <= tolerance(dtype)


def test_background_without_classes_is_alpha():
    maps = torch.zeros(2, 0, 3, 4, dtype=torch.float16)
    assert torch.equal(background(maps, 0.5), torch.full((2, 1, 3, 4), 0.5, dtype=maps.dtype))


def test_background_of_empty_maps_is_alpha():
    assert torch.equal(background(torch.zeros(1, 2, 2, 2), 0.7), torch.full((1, 1, 2, 2), 0.7))


def test_merge_flip_turns_the_mirror_image_back():
    maps, flipped = random_maps(3, 2, 3, 4), random_maps(4, 2, 3, 4)
    out = merge_flip(maps, flipped)
    for x in range(4):
        assert torch.equal(out[..., x], maps[..., x] + flipped[..., 3 - x])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merge_scales_equals_slow_loops(dtype, tolerance):
    planes = [random_maps(k, 2, 2, h, w, dtype=dtype) for k, (h, w) in enumerate([(3, 4), (5, 7)])]
    out = merge_scales(planes, (6, 5))
    assert out.dtype == dtype
    for b in range(2):
        for n in range(2):
            expected = sum(slow_bilinear(p[b, n].double(), 6, 5) for p in planes)
            torch.testing.assert_close(
                out[b, n].double(), expected, atol=4 * tolerance(dtype), rtol=0
            )


@few_examples
@given(st.integers(0, 10**6))
def test_merge_scales_leaves_one_plane_of_the_target_size(seed):
    plane = random_maps(seed, 1, 2, 3, 5)
    torch.testing.assert_close(merge_scales([plane], (3, 5)), plane, atol=1e-6, rtol=0)


@few_examples
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from((4, 8, 16)))
def test_grid_size_covers_the_image(height, width, stride):
    rows, columns = grid_size(height, width, stride)
    assert (rows - 1) * stride < height <= rows * stride
    assert (columns - 1) * stride < width <= columns * stride


@few_examples
@given(
    seed=st.integers(0, 999),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    count=st.integers(1, 6),
    with_background=st.booleans(),
    channels_last=st.booleans(),
)
def test_one_plane_at_a_time_gives_the_numbers_of_all_planes(
    seed, size, count, with_background, channels_last
):
    form = torch.channels_last if channels_last else torch.contiguous_format
    planes = random_maps(seed, 2, count, 4, 5).abs().clamp(max=1).contiguous(memory_format=form)
    allowed = random_maps(seed + 1, 2, count) > -0.5
    allowed[:, 0] = True
    classes = [*([0] if with_background else []), *range(3, 3 + count - with_background)]
    with pytest.MonkeyPatch.context() as patch:
        one, whole = [], []
        for results, large in ((whole, maps.LARGE), (one, 0)):
            patch.setattr(maps, "LARGE", large)
            results += best_plane(planes, size), best_plane(planes, size, allowed)
            results.append(best_class(planes[0], classes, size))
    full = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)
    assert torch.equal(whole[0][1], full.argmax(1).to(torch.uint8))
    for allowed_planes, (values, numbers) in zip((None, allowed), one, strict=False):
        slow = torch.stack([torch.stack([slow_bilinear(p, *size) for p in ps]) for ps in planes])
        if allowed_planes is not None:
            slow[~allowed_planes] = -1
        torch.testing.assert_close(values.double(), slow.amax(1), atol=1e-5, rtol=0)
        best = slow.gather(1, numbers.long()[:, None])[:, 0]
        torch.testing.assert_close(best, slow.amax(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(one[2][0], whole[2][0], atol=1e-5, rtol=0)
    assert (one[2][1] == whole[2][1]).float().mean() > 0.9


@few_examples
@given(seed=st.integers(0, 999), present=st.integers(0, 3), with_background=st.booleans())
def test_the_best_class_is_that_of_the_resized_planes(seed, present, with_background):
    classes = [*([0] if with_background else []), *range(2, 2 + present)]
    planes = random_maps(seed, len(classes), 3, 4).abs().clamp(max=1).half()
    score, best = best_class(planes, classes, (7, 9))
    assert score.shape == best.shape == (7, 9)
    if not present:
        assert score.max() == 0
        return
    full = torch.stack([slow_bilinear(p.double(), 7, 9) for p in planes])
    foreground = full[with_background:]
    chosen = foreground.max(0)
    clear = (foreground.topk(min(2, present), 0).values.diff(dim=0).abs() > 1e-6).all(0)
    assert torch.equal((best - 2)[clear], chosen.indices[clear])
    if with_background:
        margin = chosen.values - full[0]
        assert torch.equal((score > 0.5)[margin.abs() > 1e-6], (margin > 0)[margin.abs() > 1e-6])
        assert score.min() >= 0
        assert score.max() <= 1
    else:
        torch.testing.assert_close(score.double(), chosen.values, atol=1e-5, rtol=0)


@few_examples
@given(seed=st.integers(0, 999), level=st.floats(0.01, 0.99), classes=st.integers(1, 4))
def test_the_background_of_soft_seeds_cuts_at_the_threshold(seed, level, classes):
    planes = torch.rand(classes, 5, 6, generator=torch.Generator().manual_seed(seed)).double()
    score = background_at(planes, level)
    for y in range(5):
        for x in range(6):
            best = max(plane[y, x].item() for plane in planes)
            expected = (1 - best) ** (math.log(level) / math.log(1 - level))
            assert score[y, x].item() == pytest.approx(expected, rel=1e-9)
            assert abs(best - level) < 1e-9 or (best > score[y, x].item()) == (best > level)
    torch.testing.assert_close(background_at(planes, 0.5), 1 - planes.amax(0))


def test_the_background_of_soft_seeds_is_finite_at_all_thresholds():
    planes = torch.tensor([[[0.0, 1e-6, 0.3, 0.999, 1.0, 1.2]]])
    for level in (-0.1, 0.0, 1e-9, 0.5, 0.99, 0.9999, 1.0, 1.5):
        score = background_at(planes, level)[0]
        assert torch.isfinite(score).all()
        assert score[0] == 1
        assert (score[-2:] == 0).all()
        assert (score.diff() <= 0).all()


def test_probabilities_are_enlarged_as_the_logits_behind_them():
    logits = random_maps(3, 2, 4, 3, 5, dtype=torch.float64) * 4
    large = enlarge_probabilities(logits.softmax(1), (7, 9))
    for image in range(2):
        full = torch.stack([slow_bilinear(plane, 7, 9) for plane in logits[image]])
        torch.testing.assert_close(large[image] / large[image].sum(0), full.softmax(0))
        averaged = torch.stack([slow_bilinear(p, 7, 9) for p in logits[image].softmax(0)])
        assert (large[image] / large[image].sum(0) - averaged).abs().max() > 0.05
    certain = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert enlarge_probabilities(certain, (2, 2)).isfinite().all()
