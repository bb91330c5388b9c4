"""Tests of files of class names."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsss.platform.data.readers.classes.class_files import read_classes
from wsss.platform.errors import InputError

LEFT_OUT = ("classes.txt: the number in front of each name is left out",)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("cat\nhot dog\n", ("cat", "hot dog")),
        ("background\ncat\n", ("cat",)),
        ("__background__\r\ncat\r\n\r\n", ("cat",)),
        ("1\n2\n", ("1", "2")),
        ("1 cat\n3 dog\n", ("1 cat", "3 dog")),
        ("7 cat\n8 dog\n", ("7 cat", "8 dog")),
        ("3d print\n", ("3d print",)),
    ],
)
def test_names_are_read_as_they_are(tmp_path: Path, text: str, classes: tuple[str, ...]) -> None:
    (tmp_path / "classes.txt").write_bytes(text.encode())
    read = read_classes(tmp_path / "classes.txt")
    assert (read.classes, read.notes) == (classes, ())


@pytest.mark.parametrize(
    "text",
    [
        "0 background\n1 cat\n2 hot dog\n", "0\tcat\n1\thot dog\n", "1 cat\n2 hot dog\n",
        "0: background\n1: cat\n2: hot dog\n", "1, cat\n2, hot dog\n",
    ],
)  # fmt: skip
def test_numbers_in_front_of_names_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    read = read_classes(tmp_path / "classes.txt")
    assert (read.classes, read.notes) == (("cat", "hot dog"), LEFT_OUT)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; it must hold class names"),
        ("background\n", "names 0 classes"),
        ("0 cat\n1 cat\n", r"line 2: the class name 'cat' is listed twice"),
    ],
)
def test_files_that_name_no_class_or_one_twice_are_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_classes(tmp_path / "classes.txt")
