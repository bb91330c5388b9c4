"""Tests of files of image labels: one contract for all kinds, and what is special to each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from label_kinds import (
    CLASSES,
    KINDS,
    LABELS,
    read,
)
from wsss.platform.data.readers.labels.label_files import read_labels
from wsss.platform.errors import InputError


@pytest.mark.parametrize("kind", KINDS)
class TestContract:
    """What every kind of label file does."""

    def test_labels_are_read(self, tmp_path: Path, kind: str) -> None:
        labels = read(tmp_path, kind, LABELS)
        assert labels.by_id == LABELS
        assert labels.classes == CLASSES
        assert all(note.startswith("a.") and note.isprintable() for note in labels.notes)

    def test_an_image_without_labels_in_the_file_is_not_found(
        self, tmp_path: Path, kind: str
    ) -> None:
        labels = read(tmp_path, kind, LABELS)
        assert labels.find("a") == (0, 1)
        assert labels.find("e") is None
        assert labels.find("d_1.x") is None

    def test_an_id_that_is_not_allowed_is_refused(self, tmp_path: Path, kind: str) -> None:
        for id in ("../up.jpg", "é"):
            with pytest.raises(InputError, match=rf"a\.\w+, (line|row|entry) \d+: .*{id}"):
                read(tmp_path, kind, {**LABELS, id: (1,)})

    def test_an_image_that_is_named_twice_is_refused(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match=r"a\.\w+ names a twice, again in \w+ [56]$"):
            read(tmp_path, kind, {**LABELS, "a.jpg": (1,)})

    def test_too_few_classes_are_refused(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match=r"a\.\w+[, ]"):
            read(tmp_path, kind, LABELS, classes=CLASSES[:2])

    def test_damaged_files_are_refused(self, tmp_path: Path, kind: str) -> None:
        name, write = KINDS[kind]
        cut = write(LABELS)[:9]
        for data in (b"", b"\0", b"\xff\xfe\xff", *([] if name == "a.txt" else [cut])):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(InputError, match=r"a\.\w+"):
                read_labels(tmp_path / name, CLASSES)

    def test_a_missing_file_is_named(self, tmp_path: Path, kind: str) -> None:
        with pytest.raises(InputError, match=r"there is no label file .*a\.\w+"):
            read_labels(tmp_path / KINDS[kind][0], CLASSES)


INDICES = (
    "csv, indices", "txt, indices", "txt, indices and file names", "npy, indices",
    "npy, arrays of indices", "json, indices",
)  # fmt: skip


@pytest.mark.parametrize("kind", INDICES)
def test_indices_are_counted_from_0_or_from_1(tmp_path: Path, kind: str) -> None:
    from_1 = {id: tuple(k + 1 for k in labels) for id, labels in LABELS.items()}
    assert read(tmp_path, kind, from_1, base=1).by_id == LABELS
    assert read(tmp_path, kind, LABELS, base=0).by_id == LABELS
    with pytest.raises(
        InputError, match=r"the label 0 is no index of 4 classes, 1 to 4; if .* out"
    ):
        read(tmp_path, kind, LABELS, base=1)
    with pytest.raises(InputError, match=r"z: the label 4 is no index .*, say --label-base 1"):
        read(tmp_path, kind, {**LABELS, "z": (1, 4)})
    with pytest.raises(InputError, match=r"z: the label 9 is no index of 4 classes, 0 to 3$"):
        read(tmp_path, kind, {**LABELS, "z": (9,)})


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(INDICES)))
def test_a_base_without_indices_is_refused(tmp_path: Path, kind: str) -> None:
    for base in (0, 1):
        with pytest.raises(InputError, match=r"a\.\w+ has .* leave out --label-base"):
            read(tmp_path, kind, LABELS, base=base)


def text(folder: Path, name: str, content: str, classes: Any = CLASSES, **options: Any) -> Any:
    (folder / name).write_text(content)
    return read_labels(folder / name, classes, **options)


def test_labels_without_index_0_are_noted(tmp_path: Path) -> None:
    notes = text(tmp_path, "a.txt", "x 1\ny 3\n").notes
    assert notes == (
        "a.txt: labels are indices of classes, 0 (cat) to 3 (ox)",
        "a.txt: no image has the label 0; if the file counts classes from 1, say --label-base 1",
    )
    assert len(text(tmp_path, "a.txt", "x 1\ny 3\n", base=0).notes) == 1
    assert len(text(tmp_path, "a.txt", "x 1\ny 0\n").notes) == 1


def test_an_index_that_every_image_has_may_be_the_background(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"every image has the label 0; .* 1, .* cat, .* 0"):
        text(tmp_path, "a.txt", "x 0 1\ny 0 3\n")
    assert text(tmp_path, "a.txt", "x 0 1\ny 0 3\n", base=0).by_id == {"x": (0, 1), "y": (0, 3)}
    labels = text(tmp_path, "a.txt", "x 0 1\ny 0 3\n", base=1)
    assert labels.by_id == {"x": (0,), "y": (2,)}
    assert "a.txt: the label 0, which every image has, is the background" in labels.notes


def test_numbers_that_may_be_indices_or_bits_need_a_base(tmp_path: Path) -> None:
    two = ("cat", "dog")
    with pytest.raises(InputError, match="x: the numbers may be indices of classes or 0 and 1"):
        text(tmp_path, "a.txt", "x 0 1\ny 1 0\n", two)
    labels = text(tmp_path, "a.txt", "x 0 1\ny 1 0\n", two, base=0)
    assert labels.by_id == {"x": (0, 1), "y": (0, 1)}
    assert text(tmp_path, "a.txt", "x 0 1\ny 1 1\n", two).by_id == {"x": (1,), "y": (0, 1)}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("x 1 0 0 0 1\ny 0 0 0 1 1\n", "y: the row has 5 numbers for 4 classes, and the first is"),
        ("x 0 0 0 1 0 1\ny 1 0 0 1 0 1\n", "x: the row has 6 numbers; 4 classes need 4"),
        ("x 0.5\n", "label '0.5' is not among"),
        ("x -1\n", "label '-1' is not among"),
        ("x 1\ny cat\n", "x: label '1' is not among"),
        ("x\ny\n", "has image ids, but no labels"),
        ("; cat\n", "line 1: '; cat' has no image id in front"),
        ("x 99999999999\n", "is not among"),
    ],
)
def test_lines_without_labels_of_the_classes_are_refused(
    tmp_path: Path, rows: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        text(tmp_path, "a.txt", rows)


def test_numbers_are_names_where_a_class_is_a_number(tmp_path: Path) -> None:
    classes = ("5", "7", "nine")
    assert text(tmp_path, "a.txt", "x 7 5\ny nine\n", classes).by_id == {"x": (0, 1), "y": (2,)}
    with pytest.raises(InputError, match="label '0' is not among 5, 7, nine"):
        text(tmp_path, "a.txt", "x 7 0\n", classes)
    with pytest.raises(InputError, match="leave out --label-base"):
        text(tmp_path, "a.txt", "x 7 5\n", classes, base=0)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("id,labels\n", "has no rows"),
        ("x,cat\n", "columns id and labels in its first line, which has 'x, cat'"),
        ("id,labels\nx,cat,dog\n", "line 2 has 3 cells, but there are 2 columns; put labels"),
        ("id,labels,split\nx,cat\n", "line 2 has 2 cells, but there are 3 columns"),
        ("id,labels,labels\nx,cat,dog\n", "has two columns 'labels'"),
        ("id,label,class\nx,cat,dog\n", "columns label and class; name the one to read labels"),
        ("file,image,labels\nx,y,cat\n", "columns file and image; name the one to read id"),
        ("ID,Id,labels\nx,y,cat\n", "has the columns ID and Id; name the one to read id"),
        (
            "id,width\nx,500\n",
            "line 2 has '500' in the column 'width'; a table needs a column labe",
        ),
        ("id,cat,dog,ox\nx,0,1,0\n", "says nothing on the class dining table"),
        ("id,cat,dining table,dog,ox,emu\nx,0,1,0,0,0\n", "has 0 and 1 for 'emu', which is no cl"),
        ("id,cat,Cat,dining table,dog,ox\nx,0,1,0,0,0\n", "has the class cat twice, in two spell"),
        ("id,cat,dining table,dog,ox\nx,0,1,-1,0\n", "line 2 has '-1' in the column 'dog'"),
        ("id,0,1,2,3,4\nx,0,1,0,0,0\n", "x: the row has 5 numbers for 4 classes, and the first"),
        ("id,0,1,2\nx,0,1,0\n", "x: the row has 3 numbers; 4 classes need 4"),
        ('id,labels\nx,"[cat]"\n', r"x: '\[cat\]' is no list of labels"),
        ('id,labels\nx,"[[0]]"\n', "x: .* is neither a list of names nor one of numbers"),
        ("id,labels\nx,cat\n\nx,dog\n", "names x twice, again in line 4"),
    ],
)
def test_tables_with_wrong_columns_or_values_are_refused(
    tmp_path: Path, rows: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        text(tmp_path, "a.csv", rows)


def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    rows = ',File_Name,Tags,split,\n0,x.jpg, "dog;cat" ,val\n1,y.jpg,,\n,,,\n'
    labels = text(tmp_path, "a.csv", rows)
    assert labels.by_id == {"x": (0, 2), "y": ()}
    assert labels.splits == {"x": "val", "y": ""}
    assert labels.notes[:2] == (
        "a.csv: ids are in the column File_Name",
        "a.csv: labels are in the column Tags",
    )


def test_columns_of_classes_name_the_classes_in_their_order(tmp_path: Path) -> None:
    labels = text(tmp_path, "a.csv", "id,ox,cat,split\nx,1.0,0.0,train\ny,0,1,val\n", None)
    assert labels.classes == ("ox", "cat")
    assert labels.by_id == {"x": (0,), "y": (1,)}
    assert labels.splits == {"x": "train", "y": "val"}
    assert "a.csv: classes are in the order of the file" in labels.notes


@pytest.mark.parametrize(
    "kind", ["txt, indices", "npz", "npy of SIPE", "json, indices", "csv, numbered columns"]
)
def test_numbers_need_the_names_of_the_classes(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=r"has numbers as labels; list the names .* classes\.txt"):
        read(tmp_path, kind, LABELS, classes=None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"a": ["cat"], "a": ["dog"]}', "is not readable JSON: it has the key 'a' twice"),
        ("[[0]]", "entry 1 is no object with id and labels"),
        ("5", "holds 5, not labels by image id"),
        ('{"a": null}', r"'a': \[None\] is neither a list of names"),
        ('{"a": "cat dog"}', "a: label 'cat dog' is not among"),
        (
            '{"images": [{"id": 1}], "annotations": []}',
            "is an annotation file of COCO; wsss data coco",
        ),
        ("[" * 100_000, "is not readable JSON"),
    ],
)
def test_json_without_labels_by_image_id_is_refused(
    tmp_path: Path, content: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        text(tmp_path, "a.json", content)


@pytest.mark.parametrize("name", ["a.pkl", "a.xlsx", "labels"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a")
    with pytest.raises(
        InputError, match=r"is no label file; its suffix must be one of \.csv, \.tsv"
    ):
        read_labels(tmp_path / name, CLASSES)
