"""Tests of duplicate images, within a split and across splits."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from wsss.platform.data.check.duplicates import Duplicates, HashedImage, find_duplicates
from wsss.platform.data.check.encoded_images import orientation_and_hash
from wsss.platform.data.images import decode_image

VOC = {
    "train": ("train+train_aug",),
    "train_aug": ("train+train_aug", "train_aug"),
    "val": ("val",),
}


def image(id: str, subset: str, hash: str) -> HashedImage:
    return HashedImage(id, subset, hash)


def test_an_image_of_train_in_val_is_named_once() -> None:
    images = [
        image("a", "train+train_aug", "1"),
        image("b", "train_aug", "2"),
        image("c", "val", "1"),
        image("d", "val", "3"),
    ]
    assert find_duplicates(images, VOC) == (
        Duplicates(splits=("train", "val"), count=1, first=(("a", "c"),)),
    )


def test_an_image_of_two_lists_is_a_duplicate_where_the_lists_should_differ() -> None:
    splits = {"train": ("train", "train+val"), "val": ("train+val", "val")}
    images = [image("a", "train+val", "1"), image("b", "train", "2")]
    assert find_duplicates(images, splits) == (
        Duplicates(splits=("train", "val"), count=1, first=(("a", "a"),)),
    )
    whole = {"train": ("train+val",), "val": ("train+val",)}
    assert find_duplicates(images[:1], whole)[0].first == (("a", "a"),)


def test_lists_that_contain_each_other_may_overlap() -> None:
    images = [image("a", "train+train_aug", "1"), image("b", "train_aug", "2")]
    assert find_duplicates(images, VOC) == ()
    trainval = {"trainval": ("trainval+val", "trainval"), "val": ("trainval+val",)}
    assert find_duplicates([image("a", "trainval+val", "1")], trainval) == ()


def test_an_image_that_is_twice_in_a_split_is_named() -> None:
    images = [image(id, "val", "1") for id in "cab"]
    assert find_duplicates(images, VOC) == (
        Duplicates(splits=("val", "val"), count=2, first=(("a", "b"), ("b", "c"))),
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123")), max_size=12))
def test_images_in_two_exclusive_splits_are_those_of_the_slow_oracle(
    members: list[tuple[str, str]],
) -> None:
    images = [image(f"i{k}", subset, hash) for k, (subset, hash) in enumerate(members)]
    splits = {"a": ("a",), "b": ("b",)}
    expected = sum(
        any(x.hash == y.hash for y in images if y.subset == "b") for x in images if x.subset == "a"
    )
    across = [d for d in find_duplicates(images, splits) if d.splits == ("a", "b")]
    assert sum(d.count for d in across) == expected
    assert find_duplicates(images[::-1], splits) == find_duplicates(images, splits)


def jpeg(pixels: np.ndarray, orientation: int = 1, quality: int = 90) -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(out, "JPEG", exif=exif, quality=quality)
    return out.getvalue()


@pytest.mark.parametrize("side", [40, 300])
def test_the_hash_is_of_pixels_and_not_of_metadata(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 9, 3), dtype=np.uint8)
    first, turned = orientation_and_hash(jpeg(pixels)), orientation_and_hash(jpeg(pixels, 6))
    assert first[1] == turned[1]
    assert (first[0], turned[0]) == (1, 6)
    other = pixels.copy()
    other[: side // 2] = 255 - other[: side // 2]
    assert orientation_and_hash(jpeg(other))[1] != first[1]


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_images_of_sixteen_bits_are_told_apart_as_they_are_read() -> None:
    """All values lie above 255, where a conversion by Pillow alone clips them."""
    pixels = np.random.default_rng(0).integers(300, 65536, (40, 49), dtype=np.uint16)
    other = pixels[::-1].copy()
    first = orientation_and_hash(png(pixels))[1]
    assert orientation_and_hash(png(other))[1] != first
    assert orientation_and_hash(png((pixels >> 8).astype(np.uint8)))[1] == first
    same = (pixels >> 8 << 8) + 7
    assert np.array_equal(decode_image(png(same), "b"), decode_image(png(pixels), "a"))
    assert orientation_and_hash(png(same))[1] == first


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "1"])
def test_the_hash_of_eight_bits_is_that_of_earlier_versions(mode: str) -> None:
    """The hash is of the size and of the grey levels, or else of RGB."""
    rgb = np.random.default_rng(0).integers(0, 256, (40, 49, 3), dtype=np.uint8)
    image = Image.fromarray(rgb).convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG")
    stored = image if mode == "L" else image.convert("RGB")
    digest = hashlib.sha256(b"(49, 40)" + stored.tobytes()).hexdigest()[:16]
    assert orientation_and_hash(out.getvalue())[1] == digest


def test_an_orientation_beyond_eight_is_none() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert orientation_and_hash(jpeg(pixels, 9))[0] == 1
    assert orientation_and_hash(jpeg(pixels, 0))[0] == 1
