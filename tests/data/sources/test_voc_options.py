"""Tests of the options of VOC trees together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from wsss.platform.data.images import encode_png
from wsss.platform.data.sources.voc import VOC

ID = "2007_000001"


def test_a_list_may_name_a_mask_beside_the_options_of_masks(voc_tree: Path) -> None:
    """Columns of lists, label files and options of masks compose."""
    (voc_tree / "JPEGImages" / f"{ID}.jpg").rename(voc_tree / "JPEGImages" / f"{ID}.JPG")
    white = np.where(np.eye(8, 12) > 0, 255, 0).astype(np.uint8)
    (voc_tree / "SegmentationClassAug" / "white.png").write_bytes(encode_png(white))
    lists = voc_tree / "ImageSets/Segmentation"
    (lists / "own.txt").write_text(f"/JPEGImages/{ID}.jpg /SegmentationClassAug/white.png\n")
    (voc_tree / "own_cls.txt").write_text(f"{ID} 8\n")
    source = VOC(
        voc_tree,
        lists=("own",),
        labels=voc_tree / "own_cls.txt",
        label_base=1,
        mask_values=("0=background", "255=label"),
    )
    (item,) = source.items()
    assert (item.image, item.mask) == (f"JPEGImages/{ID}.JPG", "SegmentationClassAug/white.png")
    record = source.load(item)
    np.testing.assert_array_equal(record.mask, np.where(white, 8, 0))
    assert source.settings() == {
        "lists": ["own"],
        "labels": "own_cls.txt",
        "label_base": 1,
        "mask_values": [["0", "background"], ["255", "label"]],
    }
    texts = " ".join(source.notes())
    assert all(text in texts for text in ("own_cls.txt", "masks are named by", "called .JPG"))
