"""The check of a whole data set, as the manifest of its shards keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .counts import Counts, sum_of_counts
from .duplicates import Duplicates, find_duplicates
from .shard_check import Examples, Mismatches, ShardCheck, sum_of_checks


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Height and width, in pixels, of three images; by number of pixels.

    Attributes:
        smallest: size of the smallest image.
        median: size of the image in the middle, the lower one of two.
        largest: size of the largest image.
        largest_id: id of the largest image.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    largest_id: str

    def __post_init__(self) -> None:
        if min(*self.smallest, *self.median, *self.largest) < 1:
            raise ValueError("the sizes of images are not positive")


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """The check of a data set.

    Attributes:
        classes: names of the foreground classes.
        splits: counts over each split.
        whole: counts over all images, each of them once.
        sizes: sizes of the images; None without images.
        duplicates: images that are in two splits, or twice in one.
        examples: by class, images that show it.
        mismatches: ids of images whose labels and masks differ.
        subsets: exclusive subsets of each split, see `Source.splits`.
    """

    classes: tuple[str, ...]
    splits: dict[str, Counts]
    whole: Counts
    sizes: Sizes | None
    duplicates: tuple[Duplicates, ...]
    examples: Examples
    mismatches: Mismatches
    subsets: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        by_class: list[Sequence[object]] = [self.examples]
        by_class += [self.mismatches.without_pixel, self.mismatches.without_label]
        for counts in (self.whole, *self.splits.values()):
            by_class += [counts.labelled, counts.shown]
            by_class += [counts.class_without_pixel, counts.class_without_label]
        if {len(values) for values in by_class} != {len(self.classes)}:
            raise ValueError("a check does not have one value for each class")


def check_of_dataset(
    by_subset: Mapping[str, Sequence[ShardCheck]],
    classes: Sequence[str],
    splits: Mapping[str, Sequence[str]],
) -> DatasetCheck:
    """Return the check of a data set from checks of its parts.

    Args:
        by_subset: checks of the parts of each exclusive subset, in any order.
        classes: names of the foreground classes.
        splits: the exclusive subsets that make up each split.
    """
    number = len(classes)
    sums = {subset: sum_of_checks(checks, number) for subset, checks in by_subset.items()}
    whole = sum_of_checks([*sums.values()], number)
    return DatasetCheck(
        classes=tuple(classes),
        splits={
            split: sum_of_counts([sums[s].counts for s in subsets if s in sums], number)
            for split, subsets in splits.items()
        },
        whole=whole.counts,
        sizes=_sizes(whole),
        duplicates=find_duplicates(whole.images, splits),
        examples=whole.examples,
        mismatches=whole.mismatches,
        subsets={split: tuple(subsets) for split, subsets in splits.items()},
    )


def _sizes(check: ShardCheck) -> Sizes | None:
    if not check.sizes:
        return None
    counts: dict[tuple[int, int], int] = {}
    for text, count in check.sizes.items():
        height, _, width = text.partition("x")
        counts[int(height), int(width)] = count
    ordered = sorted(counts, key=lambda size: (size[0] * size[1], size))
    middle, seen = (sum(counts.values()) - 1) // 2, 0
    for median in ordered:
        seen += counts[median]
        if seen > middle:
            break
    return Sizes(
        smallest=ordered[0], median=median, largest=ordered[-1], largest_id=check.largest[1]
    )
