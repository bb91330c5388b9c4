"""Tests of class names that are taken from the labels of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsss.platform.data.readers.classes.derived_classes import Label, derived_classes
from wsss.platform.errors import InputError

FILE = Path("labels.csv")


def derived(*cells: Label) -> tuple[tuple[str, ...], list[str]]:
    return derived_classes({f"i{k}": cell for k, cell in enumerate(cells)}, FILE)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (("dog", "cat", ""), ("cat", "dog")),
        (("cat;dog", "ox"), ("cat", "dog", "ox")),
        (("dining table;cat", "cat", "dining table", "cat;dining table"), ("cat", "dining table")),
        (("dining table,cat",), ("cat", "dining table")),
        (("dining table;", "table;"), ("dining table", "table")),
        ((("dining table", "cat"), ("cat",)), ("cat", "dining table")),
        (("cat", "cat dog", "dog"), ("cat", "dog")),
        (("background;cat", "dog"), ("cat", "dog")),
        (("coffee table;table", "coffee", "coffee table"), ("coffee", "coffee table", "table")),
    ],
)
def test_names_are_taken(cells: tuple[Label, ...], classes: tuple[str, ...]) -> None:
    assert derived(*cells)[0] == classes


def test_each_choice_is_noted() -> None:
    assert derived("cat", "cat dog", "dog")[1] == [
        "labels.csv: blanks divide names, as in 'cat dog', since each word is also the label of an "
        "image"
    ]
    assert derived("dining table;cat")[1] == [
        "labels.csv: names with blanks are one class each: 'dining table'"
    ]
    assert derived("cat;dog", "cat")[1] == []


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (("cat", "dining table"), "i1: the label 'dining table' may be one class or several; divi"),
        (("cat dog", "dog"), "i0: the label 'cat dog' may be one class or several"),
        (("cat;dog", "cat", "dog cat"), "i2: the label 'dog cat' may be one class or several"),
        (("Cat;dog", "cat"), "the labels 'Cat' and 'cat' may be one class"),
        (("hot dog;cat", "hot-dog;cat"), "the labels 'hot dog' and 'hot-dog' may be one class"),
        (("cat", ("NaN",)), "i1: the label 'NaN' may be a missing value; leave the labels of suc"),
        (("cat;<NA>", "cat"), "i0: the label '<NA>' may be a missing value"),
        (("", ""), "names 0 classes"),
        (("cat;a\x01",), "i0: the class name .* holds a control character"),
    ],
)
def test_what_would_be_a_guess_is_refused(cells: tuple[Label, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        derived(*cells)
