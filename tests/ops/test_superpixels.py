"""platform.ops.superpixels: regions that cover, touch and stay connected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops.superpixels import connected, felzenszwalb, merged, numbered, shrunk, slic

quick = settings(max_examples=25, deadline=None)


def patches(seed, side=48, cell=8):
    """Squares of random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // cell, side // cell, 3), np.uint8)
    return coarse.repeat(cell, 0).repeat(cell, 1)


def parts(ids):
    """How many connected parts (8 neighbours) the regions have together, by flood filling."""
    left = {(y, x) for y in range(ids.shape[0]) for x in range(ids.shape[1])}
    count = 0
    while left:
        count += 1
        stack = [left.pop()]
        while stack:
            y, x = stack.pop()
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    place = (y + dy, x + dx)
                    if place in left and ids[place] == ids[y, x]:
                        left.remove(place)
                        stack.append(place)
    return count


@quick
@given(seed=st.integers(0, 999), most=st.integers(1, 12))
def test_merging_leaves_few_connected_regions_that_are_unions_of_old_ones(seed, most):
    rng = np.random.default_rng(seed)
    image = patches(seed, 12, 3)
    ids = numbered(connected(rng.integers(0, 3, (12, 12))))
    found = merged(image, ids, most)
    assert found.min() == 0
    assert found.max() + 1 == len(np.unique(found)) == min(most, ids.max() + 1)
    assert parts(found) == found.max() + 1
    for region in np.unique(ids):
        assert len(np.unique(found[ids == region])) == 1


def test_the_most_alike_neighbours_join_first():
    """Four stripes: two nearly the same red, then green, then blue."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :4] = (200, 10, 10)
    image[:, 4:8] = (202, 10, 10)
    image[:, 8:12] = (10, 200, 10)
    image[:, 12:] = (10, 10, 200)
    ids = np.arange(16)[None].repeat(8, 0) // 4
    found = merged(image, ids, 3)
    assert found[0, 0] == found[0, 4]
    assert len({int(found[0, x]) for x in (0, 8, 12)}) == 3


def test_felzenszwalb_finds_the_patches():
    image = patches(3, 48, 16)
    found = felzenszwalb(image)
    assert parts(found) == found.max() + 1
    centres = {int(found[y, x]) for y in (8, 24, 40) for x in (8, 24, 40)}
    assert len(centres) == 9


@pytest.mark.parametrize("value", [0, 128])
def test_a_plain_image_is_one_region(value):
    image = np.full((20, 30, 3), value, np.uint8)
    assert felzenszwalb(image).max() == 0
    assert merged(image, felzenszwalb(image)).max() == 0


def test_slic_gives_compact_connected_regions():
    found = slic(patches(1, 64, 8), 16)
    assert parts(found) == found.max() + 1
    assert 4 <= found.max() + 1 <= 64


@quick
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
def test_shrinking_takes_back_what_enlarging_did(height, width, factor, seed):
    ids = np.random.default_rng(seed).integers(0, 64, (height, width))
    large = ids.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(shrunk(large, height, width), ids)
