"""Tests of platform.stages.labels.superpixels: regions of pictures of any size."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label
from wsss.platform.ops.superpixels import felzenszwalb, merge_regions
from wsss.platform.stages.labels.superpixels import KINDS, PUBLISHED_SIDE, regions_of

GROUND, BODY, LIMB = (170, 170, 150), (90, 60, 40), (30, 30, 40)


def insect(side=64):
    """Return a picture of a body with a limb smaller than the smallest region of Felzenszwalb."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = GROUND
    image[20:44, 20:44] = BODY
    image[30:33, 44:60] = LIMB
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(23, 64), (500, 40), (1, 1)])
def test_ids_count_from_0_and_their_regions_are_connected(kind, shape):
    height, width = shape
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image[:, : width // 2] //= 4
    ids = regions_of(image, kind)
    assert (ids.shape, ids.dtype) == (shape, np.uint8)
    count = int(ids.max()) + 1
    assert len(np.unique(ids)) == count <= (64 if kind == "merged" else 255)
    assert label(ids, connectivity=2, background=-1).max() == count


def test_a_limb_of_a_small_picture_is_a_region_of_its_own():
    image = insect()
    assert (image == LIMB).all(2).sum() < 75
    alone = felzenszwalb(image)
    assert alone[31, 52] in (alone[5, 5], alone[24, 24])
    regions = regions_of(image, "merged")
    assert len({int(regions[y, x]) for y, x in ((5, 5), (24, 24), (31, 52))}) == 3


def test_pictures_of_the_published_size_are_not_resized():
    image = np.repeat(np.repeat(insect(), 8, 0), 8, 1)[200:300, :PUBLISHED_SIDE]
    np.testing.assert_array_equal(
        regions_of(image, "merged"), merge_regions(image, felzenszwalb(image), 64)
    )
