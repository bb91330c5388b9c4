"""Images that a data set holds more than once, within a split or in two splits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMED = 5
"""Largest number of pairs of ids that are kept as examples."""


@dataclass(frozen=True)
class HashedImage:
    """The id, the subset and the hash of the pixels of an image."""

    id: str
    subset: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Images that are in two splits, or twice in one split.

    Attributes:
        splits: names of both splits, or twice the name of one split.
        count: number of images of the first split that are in the second one, too; for one split,
            number of images beyond the first of each kind.
        first: the first of these images with an image that equals it, as pairs of ids, in the
            order of the alphabet; an image whose id is in both lists is a pair of equal ids.
    """

    splits: tuple[str, str]
    count: int
    first: tuple[tuple[str, str], ...]


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the size and the pixels of an image.

    Args:
        pixels: RGB `[H,W,3]`.
    """
    hasher = hashlib.sha256(f"{pixels.shape}".encode())
    hasher.update(pixels.tobytes())
    return hasher.hexdigest()[:16]


def find_duplicates(
    images: Sequence[HashedImage], splits: Mapping[str, Sequence[str]]
) -> tuple[Duplicates, ...]:
    """Return the images that are twice in a split, or in two splits that should not overlap.

    Splits of which one contains the whole other one, such as VOC's train and train_aug, may
    overlap, unless one of them is for training and the other one for validation or test.

    Args:
        images: all images, in any order.
        splits: the exclusive subsets of each split, see `Source.splits`.
    """
    by_hash: dict[str, list[HashedImage]] = {}
    for image in images:
        by_hash.setdefault(image.hash, []).append(image)
    groups = [sorted(group, key=lambda i: i.id) for group in by_hash.values() if len(group) > 1]
    out = []
    for one, other in itertools.combinations_with_replacement(splits, 2):
        left, right = set(splits[one]), set(splits[other])
        pairs: list[tuple[str, str]] = []
        if one == other:
            for group in groups:
                pairs += itertools.pairwise(i.id for i in group if i.subset in left)
        elif _should_differ(one, other, left, right):
            pairs += [(i.id, i.id) for i in images if i.subset in left & right]
            for group in groups:
                twin = next((i.id for i in group if i.subset in right - left), None)
                if twin is not None:
                    pairs += [(i.id, twin) for i in group if i.subset in left - right]
        if pairs:
            first = tuple(sorted(pairs)[:NAMED])
            out.append(Duplicates(splits=(one, other), count=len(pairs), first=first))
    return _without_repeats(out, splits)


def _should_differ(one: str, other: str, left: set[str], right: set[str]) -> bool:
    """Return whether two splits should have no image in common."""
    learns = [name.startswith("train") and not name.startswith("trainval") for name in (one, other)]
    scores = [name.startswith(("val", "test")) for name in (one, other)]
    if (learns[0] and scores[1]) or (scores[0] and learns[1]):
        return True
    return not (left <= right or right <= left)


def _without_repeats(
    duplicates: Sequence[Duplicates], splits: Mapping[str, Sequence[str]]
) -> tuple[Duplicates, ...]:
    """Return the duplicates without those that a larger split repeats, such as train_aug's."""

    def contains(a: Duplicates, b: Duplicates) -> bool:
        pairs = zip(a.splits, b.splits, strict=True)
        return all(set(splits[x]) >= set(splits[y]) for x, y in pairs)

    def first_of_equals(k: int) -> bool:
        return not any(
            a.count == duplicates[k].count
            and contains(a, duplicates[k])
            and contains(duplicates[k], a)
            for a in duplicates[:k]
        )

    kept = [duplicates[k] for k in range(len(duplicates)) if first_of_equals(k)]
    return tuple(
        a
        for a in kept
        if not any(b is not a and contains(a, b) and a.count == b.count for b in kept)
    )
