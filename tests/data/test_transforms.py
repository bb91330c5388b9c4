"""platform.data.transforms: crops that can be repeated, and rectangles that tell the truth."""

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
    drawn,
    generator,
    normalized,
    placed,
    resized,
    valid_pixels,
)

quick = settings(max_examples=40, deadline=None)


def augment(image, rng, crop):
    """The crop and the rectangle that holds the image."""
    place = drawn(*image.shape[:2], rng, crop)
    return placed(image, place, crop.side), place.rectangle


def gradient(height, width):
    """Never black; red grows to the right, green downwards."""
    out = np.full((height, width, 3), 128, np.uint8)
    out[..., 0] = np.linspace(40, 250, width)
    out[..., 1] = np.linspace(40, 250, height)[:, None]
    return out


@quick
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(8, 64),
    st.tuples(st.integers(8, 80), st.integers(0, 40)),
    st.integers(0, 10**6),
)
def test_the_rectangle_holds_the_image_and_nothing_else(height, width, side, resize, seed):
    crop = Crop(resize=(resize[0], resize[0] + resize[1]), side=side)
    out, rectangle = augment(gradient(height, width), generator(seed, 0, "x"), crop)
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
    first, place = augment(image, generator(3, 1, "a"), crop)
    again, place_again = augment(image.copy(), generator(3, 1, "a"), crop)
    assert np.array_equal(first, again)
    assert np.array_equal(place, place_again)


@pytest.mark.parametrize("other", [(4, 1, "a"), (3, 2, "a"), (3, 1, "b")])
def test_seed_epoch_and_id_each_change_the_draw(other):
    assert generator(3, 1, "a").random() == generator(3, 1, "a").random()
    assert generator(3, 1, "a").random() != generator(*other).random()


def test_an_image_smaller_than_the_crop_is_whole():
    out, (top, left, rows, columns) = augment(
        gradient(20, 10), generator(0, 0, "x"), Crop(resize=(20, 20), side=32)
    )
    assert (rows, columns) == (20, 10)
    found = out[top : top + 20, left : left + 10]
    image = gradient(20, 10)
    assert np.array_equal(found, image) or np.array_equal(found, image[:, ::-1])


def test_an_image_larger_than_the_crop_fills_it():
    out, rectangle = augment(
        gradient(100, 80), generator(0, 0, "x"), Crop(resize=(100, 100), side=32)
    )
    assert rectangle.tolist() == [0, 0, 32, 32]
    rows = out[..., 1].astype(int)
    assert (np.diff(rows, axis=0) >= 0).all()


def test_a_wide_image_is_padded_above_and_below_only():
    _, rectangle = augment(
        gradient(10, 100), generator(0, 0, "x"), Crop(resize=(100, 100), side=32)
    )
    assert rectangle[1] == 0
    assert rectangle[2:].tolist() == [10, 32]


def test_every_offset_and_both_mirrors_occur():
    crop, image = Crop(resize=(8, 8), side=10), gradient(8, 8)
    places, mirrored = set(), set()
    for seed in range(120):
        out, (top, left, *_) = augment(image, generator(seed, 0, "x"), crop)
        places.add((int(top), int(left)))
        mirrored.add(bool(out[top, left, 0] > out[top, left + 7, 0]))
    assert places == {(y, x) for y in range(3) for x in range(3)}
    assert mirrored == {True, False}


def test_the_long_side_is_drawn_from_the_whole_range():
    crop, image = Crop(resize=(20, 24), side=64), gradient(30, 60)
    sides = {int(augment(image, generator(s, 0, "x"), crop)[1][3]) for s in range(80)}
    assert sides == {20, 21, 22, 23, 24}


def test_resized():
    image = gradient(20, 30)
    assert resized(image, 20, 30) is image
    assert resized(image, 7, 9).shape == (7, 9, 3)


def test_normalized_is_the_slow_way():
    images = torch.from_numpy(np.stack([gradient(4, 5), gradient(4, 5)[:, ::-1]]))
    out = normalized(images)
    assert out.shape == (2, 3, 4, 5)
    assert out.dtype == torch.float32
    for c in range(3):
        expected = (images[..., c].double() / 255 - MEAN[c]) / DEVIATION[c]
        torch.testing.assert_close(out[:, c].double(), expected, atol=1e-5, rtol=0)


@quick
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=4))
def test_valid_pixels_are_the_slow_way(rectangles):
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
    crops = [augment(image, generator(s, 0, "x"), crop) for s in range(5)]
    valid = valid_pixels(torch.from_numpy(np.stack([r for _, r in crops])), 24)
    assert np.array_equal(valid.numpy(), np.stack([o.any(-1) for o, _ in crops]))
