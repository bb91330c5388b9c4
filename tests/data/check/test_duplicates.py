"""Tests of duplicate images, within a split and across splits."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.check.duplicates import (
    Duplicates,
    HashedImage,
    find_duplicates,
    pixel_hash,
)

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


@pytest.mark.parametrize("side", [40, 300])
def test_the_hash_is_of_the_size_and_of_every_pixel(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 9, 3), dtype=np.uint8)
    first = pixel_hash(pixels)
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert pixel_hash(pixels.copy()) == first
    assert pixel_hash(np.asfortranarray(pixels)) == first
    assert pixel_hash(pixels.reshape(side + 9, side, 3)) != first
    for place in ((0, 0, 0), (side // 2, 5, 1), (side - 1, side + 8, 2)):
        other = pixels.copy()
        other[place] += 1
        assert pixel_hash(other) != first
