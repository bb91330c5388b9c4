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
    ("text", "left_out"),
    [
        ("__ignore__\n_background_\ncat\nhot dog\n", "'__ignore__'"),
        ("background\ncat\nhot dog\nvoid\n", "'void'"),
        ("cat\nhot dog\n255 void\n", "'255 void'"),
        ("0 background\n1 cat\n2 hot dog\n255 void\n", "'255 void'"),
        ("1: cat\n2: hot dog\n255: border\n", "'255: border'"),
    ],
)
def test_lines_on_pixels_that_are_not_scored_are_left_out_with_a_note(
    tmp_path: Path, text: str, left_out: str
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    read = read_classes(tmp_path / "classes.txt")
    assert read.classes == ("cat", "hot dog")
    assert read.notes[0].startswith(f"classes.txt: {left_out} is left out, as it is no class")
    assert read.notes[1:] == (LEFT_OUT if text[0].isdigit() else ())


def test_one_numbered_class_is_known_by_the_number_of_void(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("1 cat\n255 void\n")
    assert read_classes(tmp_path / "classes.txt").classes == ("cat",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; it must hold class names"),
        ("background\n", "names 0 classes"),
        ("0 cat\n1 cat\n", r"line 2: the class name 'cat' is listed twice"),
        ("cat\nbackground\ndog\n", r"line 2: 'background' is no class; name it in the first line"),
        ("0 cat\n1 background\n", r"line 2: 'background' is no class"),
        ("__ignore__\ncat\n_background_\n", r"line 1: '__ignore__' is no class; remove the line"),
        ("__ignore__\n_background_\ncat\ncat\n", r"line 4: the class name 'cat' is listed twice"),
        ("void\ncat\n", r"line 1: 'void' is no class; remove the line, and if masks count it"),
        ("0 background\n1 cat\n2 void\n", r"line 3: 'void' is no class"),
        ("cat\nIgnore\ndog\n", r"line 2: 'Ignore' is no class"),
    ],
)
def test_files_that_name_no_class_or_one_twice_are_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_classes(tmp_path / "classes.txt")
