"""Tests that the pictures of the benchmarks have the statistics of photographs."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from pictures import HEIGHT, WIDTH, jpeg, photograph
from PIL import Image
from wsss.platform.ops.crf import CRFS, BatchRefiner

CORNERS = (58_000, 103_000)
"""Corners of DenseCRF's lattice with the parameters `irn` that photographs of this size have."""
FILE_BYTES = (60_000, 120_000)
"""Sizes of the JPEG files of photographs."""


def corners(image):
    images = torch.from_numpy(np.array(image))[None]
    return BatchRefiner(images, CRFS["irn"]).colour.corners


@pytest.mark.parametrize("seed", [0, 250])
def test_pictures_have_the_statistics_of_photographs(seed):
    image = photograph(seed)
    assert image.shape == (HEIGHT, WIDTH, 3)
    data = jpeg(image)
    assert FILE_BYTES[0] <= len(data) <= FILE_BYTES[1]
    decoded = Image.open(io.BytesIO(data))
    assert CORNERS[0] <= corners(decoded) <= CORNERS[1]


def test_noise_has_more_corners_and_bytes_than_photographs():
    # A quarter of an image has about a quarter of its corners and bytes.
    quarter = np.random.default_rng(0).integers(0, 256, (HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    assert 4 * corners(quarter) > 8 * CORNERS[1]
    assert 4 * len(jpeg(quarter)) > FILE_BYTES[1]


def test_pictures_of_one_seed_are_equal_and_of_two_differ():
    assert (photograph(3, 40, 50) == photograph(3, 40, 50)).all()
    assert (photograph(3, 40, 50) != photograph(4, 40, 50)).any()
