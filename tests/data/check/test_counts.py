"""Tests of the counts over images, which add up in any order."""

from __future__ import annotations

import random

import pytest
from drawn_checks import CLASSES, Case, cases, check_of, mask_of, oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.check.counts import Counts, counts_of, sum_of_counts
from wsss.platform.data.check.dataset_check import check_of_dataset
from wsss.platform.data.check.shard_check import ShardCheck, sum_of_checks


def counted(members: list[Case]) -> Counts:
    return sum_of_checks(check_of(members), CLASSES).counts


@settings(deadline=None, max_examples=40)
@given(cases())
def test_counts_are_those_of_the_slow_oracle(members: list[Case]) -> None:
    counts = counted(members)
    assert {name: getattr(counts, name) for name in oracle(members)} == oracle(members)


@settings(deadline=None, max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_and_grouping_of_sums_do_not_matter(
    members: list[Case], drawn: random.Random
) -> None:
    checks = check_of(members)
    whole = sum_of_checks(checks, CLASSES)
    drawn.shuffle(checks)
    left = list(checks) or [sum_of_checks([], CLASSES)]
    while len(left) > 1:
        k = drawn.randrange(len(left) - 1)
        left[k : k + 2] = [sum_of_checks(left[k : k + 2], CLASSES)]
    assert left[0] == whole
    nothing = sum_of_checks([], CLASSES)
    assert sum_of_checks([whole, nothing], CLASSES) == whole
    assert sum_of_checks([nothing, whole], CLASSES) == whole


@settings(deadline=None, max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_the_check_of_a_data_set_does_not_depend_on_the_order_of_shards(
    members: list[Case], drawn: random.Random
) -> None:
    splits = {"train": ("train",), "all": ("train", "val"), "val": ("val",)}
    by_subset: dict[str, list[ShardCheck]] = {}
    for case, check in zip(members, check_of(members), strict=True):
        by_subset.setdefault(case.subset, []).append(check)
    one = check_of_dataset(by_subset, ("a", "b", "c"), splits)
    shuffled = list(by_subset.items())
    drawn.shuffle(shuffled)
    for _, checks in shuffled:
        drawn.shuffle(checks)
    assert check_of_dataset(dict(shuffled), ("a", "b", "c"), splits) == one
    assert one.splits["all"] == one.whole
    parts = [one.splits["train"], one.splits["val"]]
    assert sum_of_counts(parts, 3) == one.whole


def test_the_first_ids_are_few_and_in_order() -> None:
    counts = counted([Case(f"i{k}", (0,), None) for k in range(9)][::-1])
    assert counts.first_unmasked == ("i0", "i1", "i2", "i3", "i4")
    assert counts_of("x", (0,), None, 1, turned=True).first_turned == ("x",)


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ((0, 1, 255), (0,), {"as is"}),
        ((0, 2, 255), (0,), {"one too high"}),
        ((1, 3, 2), (0, 1), {"one too high"}),
        ((0, 1, 255), (0, 1), {"one too low"}),
        ((3, 1, 255), (1,), {"one too low", "one too high"}),
        ((0, 255, 255), (2,), {"white"}),
        ((0, 255, 255), (0,), {"white", "one too low"}),
        ((0, 255, 255), (1, 2), set()),
        ((0, 0, 0), (1,), set()),
        ((1, 2, 3), (0, 1), {"one too high"}),
        ((0, 1, 255), (1,), {"labels from 1"}),
        ((0, 1, 2), (1, 2), {"labels from 1"}),
    ],
)
def test_mistakes_that_explain_a_mask_are_named(
    values: tuple[int, ...], labels: tuple[int, ...], expected: set[str]
) -> None:
    assert set(counts_of("x", labels, mask_of(*values), CLASSES).explained) == expected


def test_cocos_category_ids_and_class_numbers_are_told_apart() -> None:
    table, brush = 60, 79  # classes from 0; their category ids are 67 and 90
    ids = counts_of("x", (table, brush), mask_of(0, 67, 90), 80)
    assert set(ids.explained) == {"category ids"}
    numbers = counts_of("x", (66, 89), mask_of(0, table + 1, brush + 1), 90)
    assert "class numbers" in numbers.explained
    assert "category ids" not in counts_of("x", (11,), mask_of(0, 12), 80).explained  # a gap
