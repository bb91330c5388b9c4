"""Tests of label texts that are matched with class names."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.readers.classes.class_names import ClassNames
from wsss.platform.data.sources.voc import CLASSES
from wsss.platform.errors import InputError

COCO = ("cat", "dining table", "dog", "hot dog", "potted plant", "tv")


def named(classes: tuple[str, ...], cell: str | list[str], separated: bool = False) -> list[str]:
    names = ClassNames(classes, separated)
    return [classes[k] for k in names.indices(cell, "labels.csv, a")]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", []),
        (" ; ", []),
        ("cat", ["cat"]),
        ("cat dog", ["cat", "dog"]),
        ("dog;cat;dog", ["cat", "dog"]),
        ("dining table", ["dining table"]),
        ("cat dining table dog", ["cat", "dining table", "dog"]),
        ("dining table;cat", ["cat", "dining table"]),
        ("cat, dining table", ["cat", "dining table"]),
        ("cat|dining table", ["cat", "dining table"]),
        ("hot dog cat", ["cat", "hot dog"]),
        ("tv potted plant", ["potted plant", "tv"]),
        (["dining table", " cat "], ["cat", "dining table"]),
        ("background;cat", ["cat"]),
        ("Cat DINING_TABLE", ["cat", "dining table"]),
    ],
)
def test_names_are_matched(cell: str | list[str], expected: list[str]) -> None:
    assert named(COCO, cell) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dining table", "diningtable"), ("dining_table", "diningtable"),
        ("Dining Table", "diningtable"), ("tv/monitor", "tvmonitor"), ("tv-monitor", "tvmonitor"),
        ("TV monitor", "tvmonitor"), ("tv", "tvmonitor"), ("potted plant", "pottedplant"),
        ("airplane", "aeroplane"), ("motorcycle", "motorbike"), ("couch", "sofa"),
    ],
)  # fmt: skip
def test_other_spellings_of_vocs_names_are_matched_and_noted(text: str, name: str) -> None:
    for cell in (text, f"{text};cat", f"cat {text} dog", [text, "cat"]):
        names = ClassNames(CLASSES)
        assert CLASSES.index(name) in names.indices(cell, "a")
        assert names.notes("a.csv") == [f"a.csv: other spellings of classes: {text!r} is {name}"]


def test_names_as_they_are_leave_no_note() -> None:
    names = ClassNames(CLASSES)
    assert names.indices("cat dog", "a") == (7, 11)
    assert names.notes("a.csv") == []


@pytest.mark.parametrize(
    ("classes", "cell", "sentence"),
    [
        (COCO, "unicorn", "labels.csv, a: label 'unicorn' is not among cat, dining table"),
        (COCO, "cat unicorn", "label 'unicorn' is not among"),
        (COCO, "dining;table", "label 'dining' is not among"),
        (COCO, ["cat dog"], "label 'cat dog' is not among"),
        (("a", "b", "a b"), "a b", r"can be read as \['a', 'b'\] or as \['a b'\]; divide names by"),
        (("hot-dog", "hot dog"), "Hot Dog", "label 'Hot Dog' may be 'hot-dog' or 'hot dog'"),
        (("a,b", "c"), "c,a", "label 'c,a' is not among"),
        (COCO, "cat " * 1001, "over 1000 labels"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused(
    classes: tuple[str, ...], cell: str | list[str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        named(classes, cell)


def test_a_separator_anywhere_makes_a_name_with_blanks_one_name() -> None:
    classes = ("a", "b", "a b")
    assert named(classes, "a b", separated=True) == ["a b"]
    assert named(classes, "a b;") == ["a b"]
    assert named(classes, "a;b") == ["a", "b"]


def test_a_character_of_a_class_name_divides_no_names() -> None:
    classes = ("a,b", "c", "d")
    assert named(classes, "a,b;c") == ["a,b", "c"]
    assert named(classes, "a,b") == ["a,b"]


def divisions(words: list[str], classes: tuple[str, ...]) -> list[list[str]]:
    """Return the ways in which blanks may divide words into classes, by trying all."""
    out = []
    for cuts in itertools.product((False, True), repeat=len(words) - 1):
        names = [words[0]]
        for word, cut in zip(words[1:], cuts, strict=True):
            names = [*names, word] if cut else [*names[:-1], f"{names[-1]} {word}"]
        if set(names) <= set(classes):
            out.append(names)
    return out


WORDS = ("a", "b", "c")
PAIRS = tuple(" ".join(pair) for pair in itertools.product(WORDS, repeat=2))


@settings(max_examples=300, deadline=None)
@given(
    st.sets(st.sampled_from((*WORDS, *PAIRS)), min_size=1),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
)
def test_words_are_divided_in_the_only_way_or_refused(names: set[str], words: list[str]) -> None:
    classes = tuple(sorted(names))
    ways = divisions(words, classes)
    if len(ways) == 1:
        assert named(classes, " ".join(words)) == sorted(set(ways[0]))
    else:
        with pytest.raises(InputError, match="can be read as" if ways else "is not among"):
            named(classes, " ".join(words))
