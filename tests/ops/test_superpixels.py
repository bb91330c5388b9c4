"""Tests of platform.ops.superpixels: regions cover the image and stay connected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops.superpixels import (
    felzenszwalb,
    merge_regions,
    renumber_regions,
    shrink_ids,
    slic,
    split_components,
)

few_examples = settings(max_examples=25, deadline=None)


def patches(seed, side=48, cell=8):
    """Return an image of squares of random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // cell, side // cell, 3), np.uint8)
    return coarse.repeat(cell, 0).repeat(cell, 1)


def component_count(ids):
    """Return how many connected components (8 neighbours) all regions have, by flood filling."""
    left = {(y, x) for y in range(ids.shape[0]) for x in range(ids.shape[1])}
    count = 0
    while left:
        count += 1
        stack = [left.pop()]
        while stack:
            y, x = stack.pop()
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    neighbour = (y + dy, x + dx)
                    if neighbour in left and ids[neighbour] == ids[y, x]:
                        left.remove(neighbour)
                        stack.append(neighbour)
    return count


@few_examples
@given(seed=st.integers(0, 999), most=st.integers(1, 12))
def test_merging_leaves_few_connected_regions_that_are_unions_of_old_ones(seed, most):
    rng = np.random.default_rng(seed)
    image = patches(seed, 12, 3)
    ids = renumber_regions(split_components(rng.integers(0, 3, (12, 12))))
    regions = merge_regions(image, ids, most)
    assert regions.min() == 0
    assert regions.max() + 1 == len(np.unique(regions)) == min(most, ids.max() + 1)
    assert component_count(regions) == regions.max() + 1
    for region in np.unique(ids):
        assert len(np.unique(regions[ids == region])) == 1


def test_the_most_similar_neighbours_are_merged_first():
    """The image has four stripes: two of nearly the same red, then green, then blue."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :4] = (200, 10, 10)
    image[:, 4:8] = (202, 10, 10)
    image[:, 8:12] = (10, 200, 10)
    image[:, 12:] = (10, 10, 200)
    ids = np.arange(16)[None].repeat(8, 0) // 4
    regions = merge_regions(image, ids, 3)
    assert regions[0, 0] == regions[0, 4]
    assert len({int(regions[0, x]) for x in (0, 8, 12)}) == 3


def test_felzenszwalb_finds_the_patches():
    image = patches(3, 48, 16)
    regions = felzenszwalb(image)
    assert component_count(regions) == regions.max() + 1
    centres = {int(regions[y, x]) for y in (8, 24, 40) for x in (8, 24, 40)}
    assert len(centres) == 9


@pytest.mark.parametrize("value", [0, 128])
def test_an_image_of_one_colour_is_one_region(value):
    image = np.full((20, 30, 3), value, np.uint8)
    assert felzenszwalb(image).max() == 0
    assert merge_regions(image, felzenszwalb(image)).max() == 0


def test_slic_gives_compact_connected_regions():
    regions = slic(patches(1, 64, 8), 16)
    assert component_count(regions) == regions.max() + 1
    assert 4 <= regions.max() + 1 <= 64


@few_examples
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
def test_shrinking_undoes_enlarging(height, width, factor, seed):
    ids = np.random.default_rng(seed).integers(0, 64, (height, width))
    large = ids.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(shrink_ids(large, height, width), ids)
