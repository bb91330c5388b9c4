"""Tests of files of image labels: one contract for all kinds, and what is special to each kind."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss.platform.data.readers.labels.label_files import ImageLabels, read_labels
from wsss.platform.errors import InputError

CLASSES = ("cat", "dining table", "dog", "ox")
LABELS: Mapping[str, tuple[int, ...]] = {"a": (0, 1), "b": (0,), "c": (), "d-1.x": (1, 2)}
Labels = Mapping[str, tuple[int, ...]]


def names_of(labels: tuple[int, ...]) -> list[str]:
    return [CLASSES[k] for k in labels]


def file_of(id: str) -> str:
    return f"{id.removesuffix('.jpg')}.jpg"


def one_hot(labels: tuple[int, ...], background: int = 0) -> list[int]:
    return [1] * background + [int(k in labels) for k in range(len(CLASSES))]


def lines(make: Callable[[str, tuple[int, ...]], str], labels: Labels, head: str = "") -> bytes:
    return (head + "".join(f"{make(id, k)}\n" for id, k in labels.items())).encode()


def table(separator: str, labels: Labels) -> bytes:
    cells = {id: separator.join(names_of(k)) for id, k in labels.items()}
    return lines(lambda id, k: f'{id},"{cells[id]}"', labels, "id,labels\n")


def columns(labels: Labels, head: str, delimiter: str = ",", background: int = 0) -> bytes:
    def row(id: str, k: tuple[int, ...]) -> str:
        return delimiter.join([id, *map(str, one_hot(k, background))])

    return lines(row, labels, head)


def npz(labels: Labels, background: int = 0, kind: str = "uint8") -> bytes:
    out = io.BytesIO()
    rows = [one_hot(k, background) for k in labels.values()]
    np.savez(out, ids=np.array(list(labels)), labels=np.array(rows, kind))
    return out.getvalue()


def npy(content: Any, protocol: int = 4) -> bytes:
    out = io.BytesIO()
    about = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(out, about)
    pickle.dump(np.array(content, dtype=object), out, protocol)
    return out.getvalue()


def vectors(labels: Labels, kind: Any = np.float32, key: Any = str) -> dict[Any, Any]:
    return {key(id): np.array(one_hot(k), kind) for id, k in labels.items()}


def indices(labels: Labels, first: int = 0) -> dict[str, list[int]]:
    return {id: [k + first for k in present] for id, present in labels.items()}


KINDS: dict[str, tuple[str, Callable[[Labels], bytes]]] = {
    "csv, semicolons": ("a.csv", lambda m: table(";", m)),
    "csv, commas": ("a.csv", lambda m: table(",", m)),
    "csv, bars": ("a.csv", lambda m: table("|", m)),
    "csv, blanks": ("a.csv", lambda m: table(" ", m)),
    "csv, JSON lists": (
        "a.csv",
        lambda m: lines(
            lambda id, k: '{},"{}"'.format(id, json.dumps(names_of(k)).replace('"', '""')),
            m,
            "id,labels\n",
        ),
    ),
    "csv, Python lists": (
        "a.csv", lambda m: lines(lambda id, k: f'{id},"{names_of(k)}"', m, "id,labels\n")
    ),
    "csv, indices": (
        "a.csv", lambda m: lines(lambda id, k: f"{id},{' '.join(map(str, k))}", m, "id,labels\n")
    ),
    "csv of a spreadsheet": (
        "a.CSV",
        lambda m: b"\xef\xbb\xbf"
        + lines(lambda id, k: f"{id};{', '.join(names_of(k))}", m, "ID;Labels\r\n"),
    ),
    "csv, a column for each class": (
        "a.csv", lambda m: columns(m, "id,cat,dining table,dog,ox\n")
    ),
    "csv, columns in another order": (
        "a.csv",
        lambda m: lines(
            lambda id, k: ",".join([id, *map(str, reversed(one_hot(k)))]), m,
            "image,ox,dog,Dining_Table,cat\n",
        ),
    ),
    "csv, numbered columns": ("a.csv", lambda m: columns(m, "id,0,1,2,3\n")),
    "csv, columns from 1": ("a.csv", lambda m: columns(m, "id,1,2,3,4\n")),
    "csv, a column of the background": (
        "a.csv", lambda m: columns(m, "id,background,cat,dining table,dog,ox\n", background=1)
    ),
    "csv, numbered columns with background": (
        "a.csv", lambda m: columns(m, "id,0,1,2,3,4\n", background=1)
    ),
    "tsv": (
        "a.tsv", lambda m: lines(lambda id, k: f"{id}\t{';'.join(names_of(k))}", m, "id\tlabels\n")
    ),
    "txt, indices": ("a.txt", lambda m: lines(lambda id, k: f"{id} {' '.join(map(str, k))}", m)),
    "txt, indices and file names": (
        "a.txt", lambda m: lines(lambda id, k: f"/x/{file_of(id)}  {' '.join(map(str, k))} \r", m)
    ),
    "txt, names": ("a.txt", lambda m: lines(lambda id, k: f"{id} {' '.join(names_of(k))}", m)),
    "txt, names with semicolons": (
        "a.txt", lambda m: lines(lambda id, k: f"{id}\t{'; '.join(names_of(k))}", m)
    ),
    "txt, names with commas": (
        "a.txt", lambda m: lines(lambda id, k: ",".join([id, *names_of(k)]), m)
    ),
    "txt, 0 and 1": ("a.txt", lambda m: columns(m, "", " ")),
    "txt, 0 and 1 with background": ("a.txt", lambda m: columns(m, "", " ", background=1)),
    "txt with a header": ("a.txt", lambda m: table(";", m)),
    "npz": ("a.npz", npz),
    "npz, floats": ("a.npz", lambda m: npz(m, kind="float64")),
    "npz with background": ("a.npz", lambda m: npz(m, background=1)),
    "npy of SIPE": ("a.npy", lambda m: npy(vectors(m))),
    "npy, protocol 2": ("a.npy", lambda m: npy(vectors(m), 2)),
    "npy, protocol 3": ("a.npy", lambda m: npy(vectors(m), 3)),
    "npy, protocol 5": ("a.npy", lambda m: npy(vectors(m), 5)),
    "npy, bytes": ("a.npy", lambda m: npy(vectors(m, np.uint8))),
    "npy, texts of NumPy": ("a.npy", lambda m: npy(vectors(m, key=np.str_), 5)),
    "npy, lists of 0 and 1": ("a.npy", lambda m: npy({i: one_hot(k) for i, k in m.items()})),
    "npy, indices": ("a.npy", lambda m: npy(indices(m))),
    "npy, arrays of indices": (
        "a.npy", lambda m: npy({id: np.array(k, np.int64) for id, k in m.items()})
    ),
    "npy, names": ("a.npy", lambda m: npy({id: names_of(k) for id, k in m.items()})),
    "json, names": (
        "a.json", lambda m: json.dumps({id: names_of(k) for id, k in m.items()}).encode()
    ),
    "json, indices": ("a.json", lambda m: json.dumps(indices(m)).encode()),
    "json, 0 and 1": (
        "a.json", lambda m: json.dumps({id: one_hot(k) for id, k in m.items()}).encode()
    ),
    "json, 0 and 1 by name": (
        "a.json",
        lambda m: json.dumps(
            {id: dict(zip(CLASSES, one_hot(k), strict=True)) for id, k in m.items()}
        ).encode(),
    ),
    "json, list of objects": (
        "a.json",
        lambda m: json.dumps(
            [{"file_name": file_of(id), "labels": names_of(k)} for id, k in m.items()]
        ).encode(),
    ),
}  # fmt: skip


def read(folder: Path, kind: str, labels: Labels, **options: Any) -> ImageLabels:
    name, write = KINDS[kind]
    (folder / name).write_bytes(write(labels))
    return read_labels(folder / name, options.pop("classes", CLASSES), **options)


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
def test_other_lines_are_refused(tmp_path: Path, rows: str, sentence: str) -> None:
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
        ("x,cat\n", "needs the columns id and labels, it has 'x, cat'"),
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
def test_other_tables_are_refused(tmp_path: Path, rows: str, sentence: str) -> None:
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


@pytest.mark.parametrize("key", [int, np.int32, np.int64])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_label_file_of_irn_is_read(tmp_path: Path, key: Any, protocol: int) -> None:
    numbers = {f"200{k}000032": present for k, present in enumerate(LABELS.values())}
    (tmp_path / "a.npy").write_bytes(npy(vectors(numbers, key=lambda id: key(int(id))), protocol))
    labels = read_labels(tmp_path / "a.npy", CLASSES)
    assert [labels.find(f"200{k}_000032") for k in range(4)] == list(LABELS.values())
    assert labels.notes[0] == "a.npy: numbers stand for ids, 2000000032 for 2000_000032"


def test_a_label_file_of_numpy_itself_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", vectors(LABELS), allow_pickle=True)  # type: ignore[arg-type]
    assert read_labels(tmp_path / "a.npy", CLASSES).by_id == LABELS


class Evil:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_no_code_of_a_label_file_runs(tmp_path: Path, protocol: int) -> None:
    for content in (Evil(tmp_path / "ran"), {"a": Evil(tmp_path / "ran")}):
        (tmp_path / "a.npy").write_bytes(npy(content, protocol))
        with pytest.raises(InputError, match=r"a\.npy is not read: .*\.system, which is not allow"):
            read_labels(tmp_path / "a.npy", CLASSES)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.zeros((2, 4)), r"holds float64 \(2, 4\), not labels by image id"),
        (5, "holds no dict, not labels by image id"),
        ({}, "has no rows"),
        ({(1, 2): [0]}, r"entry 1: \(1, 2\) is no image id"),
        ({True: [0]}, "entry 1: True is no image id"),
        ({"a": {"cat": 2}}, "'a': 'cat' is 2; a class has 0 or 1"),
        ({"a": [0, "cat"]}, "'a': .* is neither a list of names nor one of numbers"),
        ({"a": np.zeros((2, 4))}, "'a': the labels are an array of several rows"),
        ({"a": np.full(4, 0.5)}, "a: the row holds 0.5; a class has 0 or 1"),
        ({"a": np.full(4, np.nan)}, "a: the row holds nan; a class has 0 or 1"),
        ({"a": [0] * 1001}, "'a': over 1000 labels"),
        ({"a": [10**400]}, "'a': a number is too large for an index"),
        ({"a": [0], "b": ["cat"]}, "a: the labels are numbers, but other labels are names"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    if isinstance(content, np.ndarray):
        np.save(tmp_path / "a.npy", content)
    else:
        (tmp_path / "a.npy").write_bytes(npy(content))
    with pytest.raises(InputError, match=sentence):
        read_labels(tmp_path / "a.npy", CLASSES)


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
def test_other_json_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        text(tmp_path, "a.json", content)


def main_lists(folder: Path, flags: Mapping[str, Mapping[str, int]]) -> Path:
    """Write VOC's lists of one class, a half of the images in each of two files."""
    folder.mkdir()
    (folder / "trainval.txt").write_text("a\nb\nc\nd-1.x\n")
    for name, flag_by_id in flags.items():
        rows = [f"{id} {flag:2d}\n" for id, flag in flag_by_id.items()]
        (folder / f"{name}_train.txt").write_text("".join(rows[:2]))
        (folder / f"{name}_val.txt").write_text("".join(rows[2:]))
        (folder / f"{name}_trainval.txt").write_text("".join(rows))
    return folder


FLAGS = {
    name: {id: 1 if k in labels else -1 for id, labels in LABELS.items()}
    for k, name in enumerate(CLASSES)
}


def test_vocs_lists_of_one_class_are_read(tmp_path: Path) -> None:
    folder = main_lists(tmp_path / "Main", FLAGS)
    for classes in (CLASSES, None):
        labels = read_labels(folder, classes)
        assert (labels.by_id, labels.classes) == (LABELS, CLASSES)
    assert labels.notes[0] == (
        "Main: 4 classes have lists of -1, 0 and 1; 0 (difficult objects alone, 0 cases) counts "
        "as present"
    )


def test_difficult_objects_count_as_present(tmp_path: Path) -> None:
    flags = {**FLAGS, "ox": {**FLAGS["ox"], "c": 0}}
    labels = read_labels(main_lists(tmp_path / "Main", flags), CLASSES)
    assert labels.by_id == {**LABELS, "c": (3,)}
    assert "0 (difficult objects alone, 1 cases) counts as present" in labels.notes[0]


def test_other_folders_of_lists_are_refused(tmp_path: Path) -> None:
    folder = main_lists(tmp_path / "Main", FLAGS)
    for name, content, sentence in (
        ("ox_val.txt", "c 1\n", "ox_val.txt, line 1: image c has 1, but -1 in another line"),
        ("ox_val.txt", "c\n", "ox_val.txt, line 1 is no image id with -1, 0 or 1"),
        ("ox_val.txt", "e 1\n", "no list of the class cat names image e"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(InputError, match=sentence):
            read_labels(folder, CLASSES)
        (folder / name).write_text(before)
    with pytest.raises(InputError, match="says nothing on the class emu"):
        read_labels(folder, (*CLASSES, "emu"))
    with pytest.raises(InputError, match="has 0 and 1 for 'ox', which is no class"):
        read_labels(folder, CLASSES[:3])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none has no lists of classes, such as cat_trainval"):
        read_labels(tmp_path / "none", CLASSES)


@pytest.mark.parametrize("name", ["a.pkl", "a.xlsx", "labels"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a")
    with pytest.raises(InputError, match=r"is no label file; its suffix must be \.csv, \.tsv"):
        read_labels(tmp_path / name, CLASSES)
