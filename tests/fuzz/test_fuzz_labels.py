"""Fuzz tests of damaged lists, class names and files of labels."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import (
    NESTED,
    altered,
    attempt,
    damaged,
    fuzz,
    texts,
)
from hypothesis import example, given
from hypothesis import strategies as st
from small_files import CLASSES, CSV, NAMES, check_classes, fill
from wsss.platform.data import npz as packed_arrays
from wsss.platform.data.names import check_id, check_name
from wsss.platform.data.readers import id_lists
from wsss.platform.data.readers.classes import class_files, class_names
from wsss.platform.data.readers.labels import label_files

LIST = b"2007_000001\n2007_000002.jpg\n\n2008_000003\n"
COLUMNS = b"/JPEGImages/a.jpg /SegmentationClass/a.png\nb.jpg\tSegmentationClass/b.png x\n"
FLAGS = b"2007_000001  1\n2007_000002  1\n"


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


IDS, PRESENT = np.array(["a", "b"]), np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
NPZ = npz(ids=IDS, labels=PRESENT)


def packed() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, ids=IDS, labels=PRESENT.astype(float))
    return out.getvalue()


@fuzz(60)
@given(damaged(LIST, COLUMNS, FLAGS, LIST.decode().encode("utf-16")))
@example(b"\xff\xfe")
@example(b"a /SegmentationClass/../../../escaped.png")
def test_a_list_of_ids_is_read_or_refused(given_folder: Path, data: bytes) -> None:
    root = given_folder / "lists"
    masks = ("SegmentationClass",)
    fill(root, {"list.txt": data, **{f"{masks[0]}/{name}.png": b"" for name in "ab"}})
    layout = id_lists.Layout(root=root, images="JPEGImages", masks=masks)
    lists = attempt(id_lists.read_lists, {"train": root / "list.txt"}, layout)
    if lists is not None:
        assert all(check_id(id) for id in lists.ids["train"])
        assert set(lists.masks.values()) <= {"SegmentationClass/a.png", "SegmentationClass/b.png"}
        assert all(note.isprintable() for note in lists.notes)


@fuzz(30)
@given(damaged(NAMES, b"0 background\n1 cat\n2 hot dog\n"))
def test_class_names_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "classes.txt"
    path.write_bytes(data)
    read = attempt(class_files.read_classes, path)
    check_classes(read and read.classes)


@fuzz(40)
@given(texts)
@example("-rf")
@example(".hidden")
def test_a_name_is_accepted_or_refused(text: str) -> None:
    name = attempt(check_name, text)
    assert name is None or (name[0].isalnum() and check_id(name) == name)


@fuzz(60)
@given(
    damaged(CSV) | st.text(max_size=60).map(lambda t: b"id,labels\n" + t.encode("utf-8", "replace"))
)
@example(b"\x80")
@example(b"id,labels\n" + b'"' + b"a" * 200_000)
def test_a_table_of_labels_is_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "labels.csv"
    path.write_bytes(data)
    check_labels(attempt(label_files.read_labels, path, CLASSES))
    labels = attempt(label_files.read_labels, path)
    check_classes(labels and labels.classes)


def pickled(content: Any, protocol: int) -> bytes:
    out = io.BytesIO()
    about = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(out, about)
    pickle.dump(np.array(content, dtype=object), out, protocol)
    return out.getvalue()


ROWS = {"a": np.array([1, 0, 1], "f4"), "b": np.array([0, 0, 1], "f4")}
LABEL_FILES = {
    "labels.tsv": b"id\tlabels\na\tcat;dog\nb\t['ox']\n",
    "onehot.csv": b"id,cat,dog,ox\na,1,0,1\nb,0,0,1\n",
    "indices.txt": b"a.jpg 0 2\nb 1\n\nc\n",
    "names.txt": b"a cat, dog\nb Ox\nc background\n",
    "bits.txt": b"a 0 0 1\nb 1 1 1\n",
    "names.json": b'{"a": ["cat", "dog"], "b": "ox", "c": []}',
    "bits.json": b'[{"id": "a", "labels": [1, 0, 0]}, {"image": "b.jpg", "label": [1, 1, 1]}]',
    "sipe.npy": pickled(ROWS, 4),
    "irn.npy": pickled({np.int32(k): row for k, row in enumerate(ROWS.values())}, 2),
    "numpy.npy": pickled({np.str_(id): row for id, row in ROWS.items()}, 5),
}


@pytest.mark.parametrize("name", LABEL_FILES)
@fuzz(25)
@given(data=st.data())
def test_a_label_file_of_any_kind_is_read_or_refused(
    given_folder: Path, name: str, data: st.DataObject
) -> None:
    path = given_folder / name
    path.write_bytes(LABEL_FILES[name])
    assert label_files.read_labels(path, CLASSES).by_id
    path.write_bytes(data.draw(damaged(LABEL_FILES[name])))
    for base in (None, 1):
        check_labels(attempt(label_files.read_labels, path, CLASSES, base))


NAMES_BY_ID = {"a": ["cat", "dog"], "b": [], "c": {"cat": 1, "ox": 0}, "d": "ox"}


@fuzz(60)
@given(altered(NAMES_BY_ID) | altered({"a": [0, 1], "b": [2], "c": 1}), st.booleans())
@example({"a": NESTED}, True)
@example({"a": NESTED}, False)
def test_labels_of_odd_values_are_read_or_refused(
    given_folder: Path, content: Any, as_json: bool
) -> None:
    path = given_folder / ("labels.json" if as_json else "labels.npy")
    text = json.dumps(content).encode("utf-8", "surrogatepass")
    path.write_bytes(text if as_json else pickled(content, 4))
    check_labels(attempt(label_files.read_labels, path, CLASSES))


FLAGS_OF_IMAGES = b"a  1\nb -1\nc  0\n"
MAIN = {f"Main/{name}_{part}.txt": FLAGS_OF_IMAGES for name in CLASSES for part in ("train", "val")}


@fuzz(30)
@given(st.sampled_from(sorted(MAIN)), damaged(FLAGS_OF_IMAGES))
def test_lists_of_classes_are_read_or_refused(given_folder: Path, name: str, data: bytes) -> None:
    fill(given_folder, {**MAIN, name: data})
    check_labels(attempt(label_files.read_labels, given_folder / "Main", CLASSES))


WORDS = (*CLASSES, "hot", "hot dog", ";", ",", "|", " ", "\x85", "é", "")


@fuzz(100)
@given(
    st.lists(st.sampled_from(WORDS)).map(" ".join),
    st.sampled_from((CLASSES, (*CLASSES, "hot dog", "a,b"))),
)
def test_texts_are_divided_into_classes_or_refused(text: str, classes: tuple[str, ...]) -> None:
    for separated in (False, True):
        indices = attempt(class_names.ClassNames(classes, separated).indices, text, "a")
        if indices is not None:
            words = {word for k in indices for word in classes[k].split()}
            assert words == {w for w in re.split(r"[\s;,|]+", text) if w and w != "background"}


@fuzz(60)
@given(damaged(NPZ, packed()))
@example(b"")
@example(NPZ[:60])
def test_arrays_of_labels_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "labels.npz"
    path.write_bytes(data)
    check_labels(attempt(label_files.read_labels, path, CLASSES))


arrays = st.sampled_from(
    (
        np.array(3), np.zeros((2, 3)), np.zeros((2, 3), bool), np.full((2, 3), np.nan), IDS,
        np.array([["a"], ["b"]]), np.array([b"a", b"b"]), np.zeros((2, 3), "M8[s]"),
        np.zeros(2, [("x", "f4")]), np.zeros((2, 3), "S3"), np.zeros((2, 3), complex),
        np.array([1, 2]), np.array([1.5, 2]), np.zeros((2, 3, 1)), np.array([], "U1"),
        np.zeros((0, 3)), np.array(["a", "a"]), np.array(["a", "../b"]), np.array(["a", "x\0y"]),
    )
)  # fmt: skip


@fuzz(60)
@given(
    st.lists(st.sampled_from((0, 1, -1, 2, 3, 1 << 20, 1 << 40, 10**30)), max_size=4),
    st.sampled_from(("<f8", "|u1", "<U1", "<U0", "|V0", "|S9")),
    st.binary(max_size=40) | st.just(bytes(1 << 20)),
    st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)),
)
def test_claimed_shapes_take_no_memory(
    given_folder: Path, shape: list[int], kind: str, content: bytes, compression: int
) -> None:
    """The shape and the bytes of an array of labels need not fit each other."""
    member = io.BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(member, about)
    path = given_folder / "labels.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in ("ids", "labels"):
            archive.writestr(f"{name}.npy", member.getvalue() + content)
    contents = attempt(packed_arrays.read, path)
    assert contents is None or contents["ids"].nbytes <= len(content)


@fuzz(30)
@given(arrays, arrays)
@example(np.array(3), PRESENT)
def test_odd_arrays_are_read_or_refused(given_folder: Path, ids: Any, labels: Any) -> None:
    path = given_folder / "labels.npz"
    path.write_bytes(npz(ids=ids, labels=labels))
    check_labels(attempt(label_files.read_labels, path, CLASSES))


def check_labels(read: label_files.ImageLabels | None) -> None:
    assert read is None or all(note.isprintable() for note in read.notes)
    for id, labels in read.by_id.items() if read else ():
        assert check_id(id) == id
        assert list(labels) == sorted(set(labels))
        assert set(labels) <= {0, 1, 2}
