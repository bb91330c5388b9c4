"""Fixtures that write tiny trees of images to a temporary folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from wsss.platform.data.images import encode_png

TRAIN, AUG, VAL = ("2007_000001", "2007_000002"), ("2008_000003",), ("2009_000004",)
XML = "<annotation><object><name>{}</name><difficult>1</difficult></object></annotation>"


def picture(form: str = "JPEG", size: tuple[int, int] = (12, 8), seed: int = 0) -> bytes:
    """Return the bytes of a noisy image; `size` is (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def square(value: int, height: int = 8, width: int = 12) -> bytes:
    """Return the bytes of a mask with `value` in the middle and a void corner."""
    mask = np.zeros((height, width), np.uint8)
    mask[2:6, 3:9], mask[0, 0] = value, 255
    return encode_png(mask)


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def make_mask() -> Callable[..., bytes]:
    return square


@pytest.fixture
def voc_tree(tmp_path: Path) -> Path:
    """Write a VOC tree of four cats: two in train and train_aug, one in train_aug, one in val."""
    root = tmp_path / "tree"
    lists = {"train": TRAIN, "train_aug": TRAIN + AUG, "val": VAL}
    for name, ids in lists.items():
        write(root / f"ImageSets/Segmentation/{name}.txt", "".join(f"{id}\n" for id in ids))
    for seed, id in enumerate(TRAIN + AUG + VAL):
        write(root / f"JPEGImages/{id}.jpg", picture(seed=seed))
        write(root / f"Annotations/{id}.xml", XML.format("cat"))
        kind = "SegmentationClassAug" if id in AUG else "SegmentationClass"
        write(root / f"{kind}/{id}.png", square(8))
    return root


@pytest.fixture
def folder_tree(tmp_path: Path) -> Path:
    """Write a folder of three images of two classes; one image has no label, one has a mask."""
    root = tmp_path / "folder"
    write(root / "labels.csv", "id,labels,split\na,tree;rock,train\nb,,train\nc,rock;tree,val\n")
    for id, suffix, form in (("a", ".jpg", "JPEG"), ("b", ".png", "PNG"), ("c", ".jpeg", "JPEG")):
        write(root / f"images/{id}{suffix}", picture(form))
    write(root / "masks/c.png", square(2))
    return root
