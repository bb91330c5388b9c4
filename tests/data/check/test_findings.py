"""Tests of the sentences on a data set, and of data sets that are refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from drawn_checks import Case, check_of, mask_of
from wsss.platform.data.check.dataset_check import DatasetCheck, Sizes, check_of_dataset
from wsss.platform.data.check.duplicates import Duplicates
from wsss.platform.data.check.findings import agreement, findings, refusal, sentences, sizes
from wsss.platform.data.check.rows import ALL_IMAGES, rows_of
from wsss.platform.serialization import as_json, typed

CLASSES = ("cat", "dog", "cow")
SPLITS = {"train": ("train",), "val": ("val",)}


def checked(
    cases: list[Case],
    classes: tuple[str, ...] = CLASSES,
    splits: dict[str, tuple[str, ...]] = SPLITS,
) -> DatasetCheck:
    by_subset: dict[str, list[object]] = {}
    for case, check in zip(cases, check_of(cases, len(classes)), strict=True):
        by_subset.setdefault(case.subset, []).append(check)
    return check_of_dataset(by_subset, classes, splits)  # type: ignore[arg-type]


def right(count: int, subset: str = "train") -> list[Case]:
    """Return images whose labels and masks agree, in which each class occurs."""
    cases = []
    for k in range(count):
        labels = ((0,), (1,), (0, 2))[k % 3]
        cases.append(Case(f"{subset}{k}", labels, mask_of(0, *(c + 1 for c in labels), 0), subset))
    return cases


def test_a_right_data_set_has_no_findings() -> None:
    check = checked(right(6) + right(3, "val"))
    assert findings(check) == []
    assert refusal(check) == ""
    assert sentences(check) == ["labels and masks agree in all 9 images that have both"]
    assert sizes(check) == "smallest 3x1, median 3x1, largest 4x1 (val2), pixels"


def test_white_masks_are_refused_with_the_counts_and_the_option() -> None:
    cases = [Case(f"i{k}", (0,), mask_of(0, 0, 0, 255), ("train", "val")[k % 2]) for k in range(4)]
    assert refusal(checked(cases)) == (
        "the masks of all 4 labelled images have no pixel of any label (4 images labelled 'cat' "
        "have no pixel of it); the masks hold only 0 and 255, and 255, which is void, covers "
        "25.0 % of the pixels: say what 255 stands for, as in --mask-values 0=background 255=label"
    )
    several = [dataclasses.replace(case, labels=(0, 1)) for case in cases]
    assert refusal(checked(several)).endswith(
        "as 4 images of several labels cannot tell their classes apart, give masks with a value "
        "for each class"
    )


def test_two_images_are_too_few_to_refuse() -> None:
    cases = [Case(f"i{k}", (0,), mask_of(0, 255)) for k in range(2)]
    assert refusal(checked(cases)) == ""
    texts = findings(checked(cases))
    assert texts[1].startswith("train: labels and masks differ in 2 of 2 images")
    assert "train: 2 masks of background and void alone (0 and 255)" in texts


@pytest.mark.parametrize(
    ("moved", "meaning"),
    [
        (lambda v: v + 1, "each value is one too high, so that 1 is background"),
        (lambda v: np.where(v == 0, 255, v - 1), "classes are counted from 0, so that 0 is"),
    ],
)
def test_a_constant_shift_is_refused_and_named(moved: object, meaning: str) -> None:
    cases = [
        dataclasses.replace(case, mask=moved(case.mask).astype(np.uint8))  # type: ignore[operator]
        for case in right(30)
    ]
    sentence = refusal(checked(cases, classes=(*CLASSES, "pig")))
    assert f"100.0 % of the images would agree if {meaning}" in sentence
    assert sentence.endswith("--mask-values")


def test_labels_that_count_from_1_are_refused_with_the_option() -> None:
    cases = [
        dataclasses.replace(case, labels=tuple(k + 1 for k in case.labels)) for case in right(30)
    ]
    assert refusal(checked(cases, classes=(*CLASSES, "pig"))).endswith(
        "100.0 % of the images would agree if the labels are indices that count from 1, not from "
        "0: say so with --label-base 1"
    )


def test_a_shift_in_one_split_alone_is_refused_with_its_name() -> None:
    wrong = [dataclasses.replace(c, mask=c.mask + 1) for c in right(30, "val")]  # type: ignore[operator]
    sentence = refusal(checked(right(90) + wrong, classes=(*CLASSES, "pig")))
    assert sentence.startswith("val: ")
    assert "each value is one too high" in sentence


def test_classes_in_another_order_are_refused() -> None:
    order = np.array([0, 3, 1, 2], np.uint8)
    cases = [dataclasses.replace(case, mask=order[case.mask]) for case in right(12)]
    sentence = refusal(checked(cases))
    assert sentence.startswith("labels and masks disagree in 12 of 12 images (8 images labelled 'c")
    assert "the masks hold the values 0, 1, 2, 3, where 0 is background" in sentence
    assert refusal(checked([*cases[:9], *right(9)])) == ""


def test_cocos_category_ids_are_named() -> None:
    names = tuple(f"class {k}" for k in range(80))
    cases = [Case(f"i{k}", (77 + k % 3,), mask_of(0, 88 + k % 3)) for k in range(12)]
    assert "values are the category ids of COCO" in refusal(checked(cases, classes=names))


def test_honest_mismatches_are_reported_and_not_refused() -> None:
    odd = [Case("odd0", (0, 1), mask_of(0, 1)), Case("odd1", (0,), mask_of(0, 1, 2))]
    check = checked(right(38) + odd)
    assert refusal(check) == ""
    assert findings(check) == [
        "train: labels and masks differ in 2 of 40 images (5.0 %): 1 have a label without a "
        "pixel, 1 pixels without a label"
    ]
    assert check.mismatches.without_pixel[1] == ("odd0",)
    assert check.mismatches.without_label[1] == ("odd1",)


def test_half_explained_sets_are_reported_with_the_share() -> None:
    wrong = [Case(f"w{k}", (0,), mask_of(0, 2, 2)) for k in range(6)]
    check = checked(right(2) + wrong)
    assert refusal(check) == ""
    assert any(
        text.startswith("train: 75.0 % of these images would agree if each value is one too high")
        for text in findings(check)
    )


def test_classes_masks_void_and_turned_images_are_named() -> None:
    cases = [
        *right(6),
        Case("bare", (0,), None),
        Case("voids", (1,), mask_of(2, *[255] * 20)),
        Case("none", (), mask_of(1)),
        Case("v", (0,), mask_of(0, 1), "val"),
    ]
    check = checked(cases, classes=(*CLASSES, "pig"))
    check = dataclasses.replace(
        check, whole=dataclasses.replace(check.whole, turned=7, first_turned=("a", "b"))
    )
    assert findings(check) == [
        "no image is labelled 'pig'",
        "train: 1 of 9 images without a label",
        "train: 1 image without a label have a mask with pixels of a class",
        "train: 1 of 9 images without a mask: bare",
        f"train: {100 * 20 / 42:.1f} % of the masks' pixels are void",
        "val: no image is labelled 'dog', 'cow'",
        "7 images with an EXIF orientation that is not applied: a, b and 5 more",
    ]


def test_a_split_test_without_any_label_is_usual() -> None:
    bare = [Case("a", (), None, "test"), Case("b", (), None, "test")]
    splits = {"train": ("train",), "test": ("test",)}
    for cases, texts in ((bare, []), ([*bare, Case("c", (0,), None, "test")], ["2 of 3"])):
        found = findings(checked([*right(3), *cases], splits=splits))
        shown = [f"test: {text} images without a label" for text in texts]
        assert [text for text in found if "without a label" in text] == shown


def test_many_absent_classes_are_cut() -> None:
    names = tuple(f"c{k}" for k in range(9))
    (text,) = findings(checked([Case("a", (0,), mask_of(0, 1))], classes=names))
    assert text == "no image is labelled 'c1', 'c2', 'c3', 'c4', 'c5' and 3 more"


def test_labelled_classes_without_a_pixel_are_named() -> None:
    texts = findings(checked([*right(3), Case("x", (0, 1, 2), mask_of(1, 2))][1:]))
    assert texts[-1].startswith("train: labels and masks differ in 1 of 3")
    texts = findings(checked([Case("x", (0, 1), mask_of(1)), *right(1)]))
    assert "train: no mask has a pixel of 'dog'" in texts


def test_a_data_set_without_masks_says_so() -> None:
    check = checked([Case("a", (0, 1, 2), None)])
    assert findings(check) == []
    assert sentences(check) == ["no image has both a label and a mask to compare"]
    check = checked([Case("a", (0, 1), None)])
    assert sentences(check) == ["no image is labelled 'cow'", agreement(check)]
    first = next(rows_of(check))
    assert (first.kind, first.pixels, first.void) == ("all", None, None)


def test_a_huge_image_is_named() -> None:
    check = dataclasses.replace(
        checked(right(3)),
        sizes=Sizes(smallest=(300, 400), median=(375, 500), largest=(3000, 4000), largest_id="big"),
    )
    assert findings(check) == ["image big is 4000x3000 pixels, 64 times the median (500x375)"]


def test_duplicates_are_named_with_ids() -> None:
    check = checked([*right(3), *right(3, "val")])
    pairs = (
        Duplicates(splits=("train", "val"), count=7, first=(("a", "b"), ("c", "c"))),
        Duplicates(splits=("val", "val"), count=1, first=(("d", "e"),)),
    )
    assert findings(dataclasses.replace(check, duplicates=pairs)) == [
        "7 images of train also in val: a = b, c and 5 more",
        "val: 1 image there twice: d = e",
    ]


def test_rows_hold_splits_and_classes() -> None:
    rows = list(rows_of(checked([*right(3), Case("odd", (1,), mask_of(0, 1, 255, 255), "val")])))
    assert [row.name for row in rows] == [ALL_IMAGES, "train", "val", *CLASSES]
    val, cat = rows[2], rows[3]
    assert (val.images, val.masks, val.without_pixel, val.without_label) == (1, 1, 1, 1)
    assert (val.pixels, val.void) == (0.25, 0.5)
    assert (cat.images, cat.masks, cat.without_pixel, cat.without_label) == (2, 3, 0, 1)


def test_a_check_survives_its_manifest() -> None:
    check = checked(
        [*right(5), Case("odd", (1,), mask_of(0, 1, 255)), Case("bare", (), None, "val")]
    )
    assert typed(DatasetCheck, json.loads(json.dumps(as_json(check)))) == check


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("classes",), ["cat", "dog"]),
        (("examples",), []),
        (("whole", "pixels"), [1] * 255),
        (("whole", "shown"), [1, 2]),
        (("splits", "val", "labelled"), [1, 2, 3, 4]),
        (("mismatches", "without_pixel"), [[]]),
        (("whole", "images"), "many"),
        (("sizes", "median"), [1]),
    ],
)
def test_a_check_that_does_not_fit_its_classes_is_refused(
    path: tuple[str, ...], value: object
) -> None:
    row = as_json(checked([*right(3), *right(3, "val")]))
    inner = row
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=r"for each class|by value|the check"):
        typed(DatasetCheck, row, "the check")


def test_sizes_are_those_of_the_slow_oracle() -> None:
    rng = np.random.default_rng(0)
    cases = [Case(f"i{k}", (0,), np.ones(rng.integers(1, 9, 2), np.uint8)) for k in range(41)]
    areas = sorted(
        (c.mask.shape[0] * c.mask.shape[1], c.mask.shape) for c in cases if c.mask is not None
    )
    known = checked(cases).sizes
    assert known is not None
    assert (known.smallest, known.median, known.largest) == (
        areas[0][1],
        areas[20][1],
        areas[-1][1],
    )
