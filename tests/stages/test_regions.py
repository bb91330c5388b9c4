"""platform.stages.superpixels: regions of pictures of any size."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label
from wsss.platform.ops.superpixels import felzenszwalb, merged
from wsss.platform.stages.labels.superpixels import KINDS, PUBLISHED_SIDE, regions_of

GROUND, BODY, LIMB = (170, 170, 150), (90, 60, 40), (30, 30, 40)


def insect(side=64):
    """A body with a limb that has fewer pixels than Felzenszwalb's smallest region."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = GROUND
    image[20:44, 20:44] = BODY
    image[30:33, 44:60] = LIMB
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 64), (23, 64), (500, 40), (1, 1)])
def test_ids_count_from_0_and_their_regions_are_connected(kind, shape):
    height, width = shape
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image[:, : width // 2] //= 4
    found = regions_of(image, kind)
    assert (found.shape, found.dtype) == (shape, np.uint8)
    count = int(found.max()) + 1
    assert len(np.unique(found)) == count <= (64 if kind == "merged" else 255)
    assert label(found, connectivity=2, background=-1).max() == count


def test_a_limb_of_a_small_picture_is_a_region_of_its_own():
    image = insect()
    assert (image == LIMB).all(2).sum() < 75
    alone = felzenszwalb(image)
    assert alone[31, 52] in (alone[5, 5], alone[24, 24])
    found = regions_of(image, "merged")
    assert len({int(found[y, x]) for y, x in ((5, 5), (24, 24), (31, 52))}) == 3


def test_pictures_of_the_published_size_are_taken_as_they_are():
    image = np.repeat(np.repeat(insect(), 8, 0), 8, 1)[: PUBLISHED_SIDE - 50, :PUBLISHED_SIDE]
    np.testing.assert_array_equal(
        regions_of(image, "merged"), merged(image, felzenszwalb(image), 64)
    )
