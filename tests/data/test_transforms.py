"""Tests of platform.data.transforms: crops repeat, and rectangles hold exactly the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.transforms import (
    DEVIATION,
    MEAN,
    Crop,
    bilinear,
    crop_image,
    crop_maps,
    fit_factor,
    normalized,
    random_generator,
    random_placement,
    resized,
    valid_pixels,
)

few_examples = settings(max_examples=40, deadline=None)


def augment(image, rng, crop):
    """Return the crop and the rectangle in it that holds the image."""
    place = random_placement(*image.shape[:2], rng, crop)
    return crop_image(image, place, crop.side), place.rectangle


def gradient(height, width):
    """Return an image that is nowhere black; red grows to the right, green downwards."""
    out = np.full((height, width, 3), 128, np.uint8)
    out[..., 0] = np.linspace(40, 250, width)
    out[..., 1] = np.linspace(40, 250, height)[:, None]
    return out


@few_examples
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(8, 64),
    st.tuples(st.integers(8, 80), st.integers(0, 40)),
    st.integers(0, 10**6),
)
def test_the_rectangle_holds_the_image_and_nothing_else(height, width, side, resize, seed):
    crop = Crop(resize=(resize[0], resize[0] + resize[1]), side=side)
    out, rectangle = augment(gradient(height, width), random_generator(seed, 0, "x"), crop)
    assert out.shape == (side, side, 3)
    assert out.dtype == np.uint8
    assert rectangle.dtype == np.int32
    top, left, rows, columns = rectangle.tolist()
    assert top >= 0
    assert left >= 0
    assert 0 < rows <= side - top
    assert 0 < columns <= side - left
    inside = np.zeros((side, side), bool)
    inside[top : top + rows, left : left + columns] = True
    assert (out[inside] > 0).all()
    assert not out[~inside].any()


def test_the_same_draw_gives_the_same_crop():
    crop = Crop(resize=(40, 80), side=32)
    image = gradient(50, 60)
    first, place = augment(image, random_generator(3, 1, "a"), crop)
    again, place_again = augment(image.copy(), random_generator(3, 1, "a"), crop)
    assert np.array_equal(first, again)
    assert np.array_equal(place, place_again)


@pytest.mark.parametrize("other", [(4, 1, "a"), (3, 2, "a"), (3, 1, "b")])
def test_seed_epoch_and_id_each_change_the_draw(other):
    assert random_generator(3, 1, "a").random() == random_generator(3, 1, "a").random()
    assert random_generator(3, 1, "a").random() != random_generator(*other).random()


def test_an_image_smaller_than_the_crop_stays_whole():
    out, (top, left, rows, columns) = augment(
        gradient(20, 10), random_generator(0, 0, "x"), Crop(resize=(20, 20), side=32)
    )
    assert (rows, columns) == (20, 10)
    inside = out[top : top + 20, left : left + 10]
    image = gradient(20, 10)
    assert np.array_equal(inside, image) or np.array_equal(inside, image[:, ::-1])


def test_an_image_larger_than_the_crop_fills_it():
    out, rectangle = augment(
        gradient(100, 80), random_generator(0, 0, "x"), Crop(resize=(100, 100), side=32)
    )
    assert rectangle.tolist() == [0, 0, 32, 32]
    rows = out[..., 1].astype(int)
    assert (np.diff(rows, axis=0) >= 0).all()


def test_a_wide_image_is_padded_above_and_below_only():
    _, rectangle = augment(
        gradient(10, 100), random_generator(0, 0, "x"), Crop(resize=(100, 100), side=32)
    )
    assert rectangle[1] == 0
    assert rectangle[2:].tolist() == [10, 32]


def test_every_offset_and_both_mirrors_occur():
    crop, image = Crop(resize=(8, 8), side=10), gradient(8, 8)
    offsets, mirrored = set(), set()
    for seed in range(120):
        out, (top, left, *_) = augment(image, random_generator(seed, 0, "x"), crop)
        offsets.add((int(top), int(left)))
        mirrored.add(bool(out[top, left, 0] > out[top, left + 7, 0]))
    assert offsets == {(y, x) for y in range(3) for x in range(3)}
    assert mirrored == {True, False}


def test_the_long_side_is_drawn_from_the_whole_range():
    crop, image = Crop(resize=(20, 24), side=64), gradient(30, 60)
    sides = {int(augment(image, random_generator(s, 0, "x"), crop)[1][3]) for s in range(80)}
    assert sides == {20, 21, 22, 23, 24}


def test_resized_has_the_given_size_and_leaves_an_image_of_that_size():
    image = gradient(20, 30)
    assert resized(image, 20, 30) is image
    assert resized(image, 7, 9).shape == (7, 9, 3)


def test_normalized_follows_the_formula():
    images = torch.from_numpy(np.stack([gradient(4, 5), gradient(4, 5)[:, ::-1]]))
    out = normalized(images)
    assert out.shape == (2, 3, 4, 5)
    assert out.dtype == torch.float32
    for c in range(3):
        expected = (images[..., c].double() / 255 - MEAN[c]) / DEVIATION[c]
        torch.testing.assert_close(out[:, c].double(), expected, atol=1e-5, rtol=0)


@few_examples
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=4))
def test_valid_pixels_equal_slow_loops(rectangles):
    out = valid_pixels(torch.tensor(rectangles, dtype=torch.int32), 10)
    assert out.dtype == torch.bool
    for b, (top, left, height, width) in enumerate(rectangles):
        for y in range(10):
            for x in range(10):
                inside = top <= y < top + height and left <= x < left + width
                assert out[b, y, x].item() == inside


def test_valid_pixels_agree_with_the_crop():
    image = gradient(13, 29)
    crop = Crop(resize=(20, 30), side=24)
    crops = [augment(image, random_generator(s, 0, "x"), crop) for s in range(5)]
    valid = valid_pixels(torch.from_numpy(np.stack([r for _, r in crops])), 24)
    assert np.array_equal(valid.numpy(), np.stack([o.any(-1) for o, _ in crops]))


def slow_bilinear(plane, y, x):
    """Return the value of a plane at a relative position in 0..1; borders are repeated."""
    height, width = plane.shape
    y, x = min(max(y * height - 0.5, 0), height - 1), min(max(x * width - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * plane[top, left] + dx * plane[top, right]
    return (1 - dy) * upper + dy * ((1 - dx) * plane[low, left] + dx * plane[low, right])


@few_examples
@given(st.integers(5, 90), st.integers(5, 90), st.sampled_from([3, 32, 45]), st.integers(0, 10**6))
def test_maps_are_cropped_and_mirrored_as_their_image(height, width, side, seed):
    crop = Crop(resize=(20, 80), side=side)
    rng = random_generator(seed, 0, "x")
    place = random_placement(height, width, rng, crop)
    grid = (-(-height // 8), -(-width // 8))
    maps = np.random.default_rng(seed).random((3, *grid)).astype(np.float16)
    result = crop_maps(maps, place, side, 8)
    count = {3: 1, 32: 4, 45: 6}[side]
    assert result.shape == (3, count, count)
    assert result.dtype == np.float16
    for row in range(count):
        for column in range(count):
            y, x = (row + 0.5) * side / count, (column + 0.5) * side / count
            rows = place.top <= y < place.top + place.rows
            if not (rows and place.left <= x < place.left + place.columns):
                assert not result[:, row, column].any()
                continue
            y = (y - place.top + place.y) / place.height
            x = (x - place.left + place.x) / place.width
            x = 1 - x if place.mirrored else x
            for plane, value in zip(maps.astype(np.float64), result[:, row, column], strict=True):
                assert value == pytest.approx(slow_bilinear(plane, y, x), abs=2e-3)


@few_examples
@given(st.integers(16, 90), st.integers(16, 90), st.integers(0, 10**6))
def test_maps_lie_under_the_pixels_that_they_were_made_of(height, width, seed):
    """A ramp in the image and the same ramp as a map agree after the crop, mirrored or not."""
    place = random_placement(
        height, width, random_generator(seed, 0, "x"), Crop(resize=(40, 80), side=48)
    )
    image = crop_image(gradient(height, width), place, 48).astype(np.float64)
    grid = (-(-height // 8), -(-width // 8))
    middle = [(np.arange(n) + 0.5) / n for n in grid]
    ramps = np.stack(
        [
            np.broadcast_to(40 + 210 * middle[1][None], grid),
            np.broadcast_to(40 + 210 * middle[0][:, None], grid),
        ]
    )
    result = crop_maps((ramps / 256).astype(np.float16), place, 48, 8).astype(np.float64) * 256
    mids = np.arange(4, 48, 8)
    pixels = (image[mids - 1][:, mids - 1] + image[mids][:, mids]) / 2  # mids lie between pixels
    tops = (mids > place.top) & (mids < place.top + place.rows)
    lefts = (mids > place.left) & (mids < place.left + place.columns)
    inside = tops[:, None] & lefts[None]
    edge = 105 / np.array([grid[1], grid[0]])  # borders repeat for half a position
    for channel in (0, 1):
        difference = np.abs(result[channel] - pixels[..., channel])[inside]
        assert (difference < edge[channel] + 8).all()


def test_a_factor_is_drawn_of_those_that_are_given():
    crop = Crop(resize=(8, 8), side=16, rescale=(0.1, 9.0), factors=(0.5, 1.25))
    heights = {
        random_placement(40, 20, random_generator(0, epoch, "a"), crop).height
        for epoch in range(40)
    }
    assert heights == {20, 50}


@few_examples
@given(st.integers(4, 30), st.integers(4, 30), st.integers(0, 10**6))
def test_deeplab_pads_right_and_bottom_before_it_mirrors(height, width, seed):
    crop = Crop(resize=(8, 8), side=24, rescale=(0.5, 1.5), cropping="deeplab")
    place = random_placement(height, width, random_generator(seed, 0, "a"), crop)
    assert place.top == 0
    assert place.left == (24 - place.columns if place.mirrored else 0)
    image = np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)
    out = crop_image(image, place, 24)
    whole = bilinear(image, place.height, place.width)
    whole = whole[:, ::-1] if place.mirrored else whole
    rows, columns = place.y + place.rows, place.x + place.columns
    inside = out[: place.rows, place.left : place.left + place.columns]
    np.testing.assert_array_equal(inside, whole[place.y : rows, place.x : columns])
    assert out.sum() == inside.sum()


def test_bilinear_equals_a_slow_loop():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    out = bilinear(image, 4, 13).astype(float)
    for row in range(4):
        for column in range(13):
            y, x = (row + 0.5) * 7 / 4 - 0.5, (column + 0.5) * 9 / 13 - 0.5
            y, x = min(max(y, 0), 6), min(max(x, 0), 8)
            top, left = min(int(y), 5), min(int(x), 7)
            square = image[top : top + 2, left : left + 2].astype(float)
            lines = square[0] * (1 - y + top) + square[1] * (y - top)
            value = lines[0] * (1 - x + left) + lines[1] * (x - left)
            assert np.abs(out[row, column] - value).max() <= 0.5 + 1e-3


def test_images_first_fit_a_box():
    assert fit_factor(375, 500, (2048, 512)) == 512 / 375
    assert fit_factor(3000, 500, (2048, 512)) == 2048 / 3000
    assert fit_factor(375, 500, None) == 1
    crop = Crop(resize=(8, 8), side=16, rescale=(2.0, 2.0), fit=(80, 30))
    place = random_placement(20, 40, random_generator(0, 0, "a"), crop)
    assert (place.height, place.width) == (60, 120)


@few_examples
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 48), st.integers(0, 10**6))
def test_a_part_of_any_image_fills_the_crop(height, width, side, seed):
    crop = Crop(resize=(8, 8), side=side, area=(0.08, 1.0))
    out, rectangle = augment(gradient(height, width), random_generator(seed, 0, "x"), crop)
    assert rectangle.tolist() == [0, 0, side, side]
    assert out.shape == (side, side, 3)
    assert out.min() > 0


def test_parts_have_the_drawn_shares_and_ratios():
    """The shares of 2,000 crops are uniform; red and green say where a crop lies in the image."""
    crop, height, width = Crop(resize=(8, 8), side=16, area=(0.2, 0.6)), 300, 400
    places = [
        random_placement(height, width, random_generator(s, 0, "x"), crop) for s in range(2000)
    ]
    rows = np.array([16 / p.height * height for p in places])
    columns = np.array([16 / p.width * width for p in places])
    shares, ratios = rows * columns / (height * width), columns / rows
    assert 0.17 < shares.min() < 0.23
    assert 0.57 < shares.max() < 0.63
    assert abs(np.mean(shares) - 0.4) < 0.01
    assert 0.7 < ratios.min() < 0.78
    assert 1.28 < ratios.max() < 1.4
    assert {p.mirrored for p in places} == {False, True}
    image = gradient(height, width)
    for place in places[:20]:
        out = crop_image(image, place, 16).astype(float)
        start = place.x if not place.mirrored else place.width - place.x - 16
        middles = 40 + 210 * (start + np.arange(16) + 0.5) / place.width
        expected = middles[::-1] if place.mirrored else middles
        assert np.abs(out[8, :, 0] - expected).max() < 12
