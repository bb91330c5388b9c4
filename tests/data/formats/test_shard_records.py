"""Tests of the rows of shards."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from wsss.platform.data.formats.shard_records import row_of
from wsss.platform.data.formats.shards import SCHEMA
from wsss.platform.data.images import encode_png
from wsss.platform.data.sources.source import Record


def test_a_row_holds_the_size_and_masks_with_a_palette_and_part_maps_in_grey() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = b"an image"
    record = Record(
        id="a", image=image, pixels=pixels, labels=(1,), mask=mask, parts=mask + 1, split="val"
    )
    row = row_of(record)
    assert list(row) == SCHEMA.names
    assert (row["id"], row["image"], row["labels"], row["split"]) == ("a", image, [1], "val")
    assert (row["height"], row["width"], row["superpixels"]) == (4, 6, None)
    for column, mode, values in (("mask", "P", mask), ("parts", "L", mask + 1)):
        with Image.open(io.BytesIO(row[column])) as stored:
            assert stored.mode == mode
            np.testing.assert_array_equal(np.asarray(stored), values)
    assert row["mask"] == encode_png(mask)


def test_a_record_without_mask_and_parts_has_none_in_its_row() -> None:
    row = row_of(
        Record(id="a", image=b"", pixels=np.zeros((4, 6, 3), np.uint8), labels=(), split="test")
    )
    assert (row["mask"], row["parts"], row["labels"]) == (None, None, [])
