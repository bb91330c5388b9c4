"""What a data set came from, without paths of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from ..digests import Digest
from ..sources.source import Item, Source

MOST_PATTERNS = 20
"""Largest number of patterns of paths; with more folders, patterns name the first folder only."""


def origin_of(source: Source, items: Sequence[Item]) -> dict[str, object]:
    """Return the kind of a source, its settings, patterns of its paths, and a digest of each list.

    Args:
        source: the source.
        items: all items of the source.

    Returns:
        `kind`; `settings`; `images` and `masks`, patterns such as `JPEGImages/*.jpg` below the
        folder of the source; and `lists`, a digest of the ids of each split, with the images
        that are left out later.
    """
    return {
        "kind": source.name,
        "settings": source.settings(),
        "images": path_patterns(item.image for item in items if item.image),
        "masks": path_patterns(item.mask for item in items if item.mask),
        "lists": list_digests(items, source.splits),
    }


def path_patterns(paths: Iterable[str]) -> list[str]:
    """Return the patterns of paths, such as `JPEGImages/*.jpg` for `JPEGImages/2007_000032.jpg`."""
    known = sorted({_relative(path) for path in paths})
    patterns = {str(p.parent / f"*{p.suffix}") for p in known}
    if len(patterns) > MOST_PATTERNS:
        patterns = {str(PurePosixPath(p.parts[0], f"**/*{p.suffix}")) for p in known}
    return sorted(patterns)[:MOST_PATTERNS]


def _relative(path: str) -> PurePosixPath:
    """Return a path without the folders of this machine."""
    whole = PurePosixPath(path)
    return PurePosixPath(whole.parent.name, whole.name) if whole.is_absolute() else whole


def list_digests(items: Sequence[Item], splits: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return a digest of the ids of each split, as `Digest.ids` in hexadecimal."""
    by_subset: dict[str, Digest] = {}
    for item in items:
        digest = by_subset.get(item.split, Digest()) + Digest.of_image(item.id, None)
        by_subset[item.split] = digest
    return {
        split: sum((by_subset[s] for s in subsets if s in by_subset), Digest()).as_dict()["ids"]
        for split, subsets in splits.items()
    }
