"""Tests of the rows of shards."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from wsss.platform.data.formats.shard_records import read_records, row_of
from wsss.platform.data.formats.shards import SCHEMA
from wsss.platform.data.images import encode_png
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.source import Record
from wsss.platform.errors import StorageError


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


def test_a_file_that_cannot_be_read_now_is_no_broken_record(
    folder_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Folder(folder_tree)
    items = source.items()
    (folder_tree / "images/b.png").unlink()
    rows, result = read_records("train-00000.parquet", source, items, tolerate=True)
    assert (len(rows), len(result.faults)) == (2, 1)
    assert result.faults[0].startswith("image b cannot be read: [Errno 2]")

    def fail(path: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StorageError, match=r"^image a cannot be read: .*Stale file handle: .*a\.j"):
        read_records("train-00000.parquet", source, items, tolerate=True)
