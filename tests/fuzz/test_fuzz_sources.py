"""Fuzz tests of damaged lists, labels, class names, annotations and whole trees of images."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import (
    NESTED,
    altered,
    attempt,
    check_sentence,
    counts,
    damaged,
    fuzz,
    scalars,
    texts,
    values,
)
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from wsss.platform.data import npz as packed_arrays
from wsss.platform.data.images import encode_png
from wsss.platform.data.names import MOST_CLASSES, check_id, check_name
from wsss.platform.data.readers import id_lists
from wsss.platform.data.readers.classes import class_files, class_names
from wsss.platform.data.readers.labels import label_files
from wsss.platform.data.sources.coco import COCO
from wsss.platform.data.sources.coco.segmentations import segmentation_mask
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.source import Source
from wsss.platform.data.sources.voc import VOC

CLASSES = ("cat", "dog", "ox")
LIST = b"2007_000001\n2007_000002.jpg\n\n2008_000003\n"
COLUMNS = b"/JPEGImages/a.jpg /SegmentationClass/a.png\nb.jpg\tSegmentationClass/b.png x\n"
FLAGS = b"2007_000001  1\n2007_000002  1\n"
NAMES = b"background\ncat\ndog\nox\n"
CSV = b'id,labels,split\na,cat dog,train\nb,"ox;cat",val\nc,,train\n'
XML = b"""<?xml version="1.0" encoding="utf-8"?><!DOCTYPE a [<!ENTITY b "cat">]>
<annotation><object><name>cat</name></object><object><name>&b;</name></object></annotation>"""


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


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


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


def check_classes(names: tuple[str, ...] | None) -> None:
    if names is not None:
        assert 1 <= len(names) == len(set(names)) <= MOST_CLASSES
        assert all(name.strip() for name in names)
        assert not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in "".join(names))


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


def picture(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (12, 8), (9, 8, 7)).save(out, form)
    return out.getvalue()


MASK = encode_png(np.array([[0, 1, 255] * 4] * 8, np.uint8))
JPEG = picture("JPEG")


def matlab_mask() -> bytes:
    out = io.BytesIO()
    savemat(out, {"GTcls": {"Segmentation": np.array([[0, 1, 3] * 4] * 8, np.uint8)}})
    return out.getvalue()


MATLAB = matlab_mask()


def read_source(make: Callable[[], Source]) -> None:
    """Read all that a source offers, up to its images; everything is read or refused."""
    source = attempt(make)
    items = source and attempt(source.items)
    if not items:
        return
    source.settings()
    source.notes()
    source.fingerprint()
    for item in items:
        record = attempt(source.load, item)
        if record:
            assert set(record.labels) <= set(range(len(source.classes)))


FOLDER = {
    "labels.csv": CSV,
    "classes.txt": NAMES,
    "images/a.jpg": JPEG,
    "images/b.png": picture("PNG"),
    "images/c.jpeg": JPEG,
    "masks/a.png": MASK,
    "masks/c.MAT": MATLAB,
}
VOC_TREE = {
    "ImageSets/Segmentation/train.txt": b"2007_000001\n",
    "ImageSets/Segmentation/val.txt": b"2007_000002\n",
    "JPEGImages/2007_000001.jpg": JPEG,
    "JPEGImages/2007_000002.JPG": JPEG,
    "Annotations/2007_000001.xml": XML,
    "Annotations/2007_000002.xml": XML.replace(b"utf-8", b"latin-1"),
    "SegmentationClass/2007_000002.png": MASK,
    "cls/2007_000001.mat": MATLAB,
    "classes.txt": NAMES,
}
INSTANCES: dict[str, Any] = {
    "info": {"year": 2014, "description": "a \u00e9 b"},
    "images": [
        {"id": 7, "file_name": "a_7.jpg", "height": 8, "width": 12},
        {"id": 9, "file_name": "a_9.jpg", "height": 8, "width": 12},
    ],
    "annotations": [
        {"image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": [[1, 1, 9, 1, 9, 6.5]]},
        {
            "image_id": 9,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": {"counts": [40, 20, 36], "size": [8, 12]},
        },
        {"image_id": 9, "category_id": 1, "iscrowd": 1, "segmentation": {"counts": "a", "size": 0}},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
}
COCO_FILE = "annotations/instances_train2014.json"
COCO_TREE = {
    COCO_FILE: json.dumps(INSTANCES).encode(),
    "train2014/a_7.jpg": JPEG,
    "train2014/a_9.jpg": JPEG,
}
EXPORTED: dict[str, Any] = {
    "annotations": [
        {"image_id": "a", "category_id": 3, "segmentation": [1, 1, 9, 1, 9, 6.5]},
        {"image_id": "b", "category_id": "1", "segmentation": [[1, 1], [9, 1], [9, 6.5]]},
        {
            "image_id": "b",
            "category_id": 1,
            "segmentation": {"counts": "X1h0P1", "size": [8.0, 12]},
        },
        {"image_id": "b", "category_id": 3, "bbox": [1, 1, 5, 2.5]},
    ],
    "images": [
        {"id": "a", "file_name": "images\\a.jpg"},
        {"id": "b", "coco_url": "http://x/images/b.jpg", "not_exhaustive_category_ids": [1]},
    ],
    "categories": [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "animals"},
        {"id": 3, "name": "dog", "supercategory": "animals"},
    ],
}
EXPORTED_TREE = {
    "result.json": json.dumps(EXPORTED).encode(),
    "images/a.jpg": JPEG,
    "images/b.jpg": JPEG,
}
PANOPTIC: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a_7.jpg", "height": 8, "width": 12},
        {"id": 9, "file_name": "a_9.jpg", "height": 8, "width": 12},
    ],
    "annotations": [
        {
            "image_id": 7,
            "file_name": "a_7.png",
            "segments_info": [
                {"id": 9 + (8 << 8) + (7 << 16), "category_id": 1, "iscrowd": 0},
                {"id": 5, "category_id": 4, "iscrowd": 1},
            ],
        },
    ],
    "categories": [
        {"id": 1, "name": "cat", "isthing": 1},
        {"id": 4, "name": "sky", "isthing": 0},
    ],
}
PANOPTIC_FILE = "annotations/panoptic_train2017.json"
PANOPTIC_PNG = "annotations/panoptic_train2017/a_7.png"
PANOPTIC_TREE = {
    PANOPTIC_FILE: json.dumps(PANOPTIC).encode(),
    PANOPTIC_PNG: picture("PNG"),
    "train2017/a_7.jpg": JPEG,
    "train2017/a_9.jpg": JPEG,
}


@pytest.fixture(scope="module")
def trees(given_folder: Path) -> dict[str, Path]:
    contents = {
        "folder": FOLDER,
        "voc": VOC_TREE,
        "coco": COCO_TREE,
        "exported": EXPORTED_TREE,
        "panoptic": PANOPTIC_TREE,
    }
    return {name: fill(given_folder / name, files) for name, files in contents.items()}


@pytest.mark.parametrize(
    ("name", "make"),
    [("folder", Folder), ("voc", VOC), ("coco", COCO), ("exported", COCO), ("panoptic", COCO)],
)
def test_undamaged_trees_are_read(
    trees: dict[str, Path], name: str, make: Callable[[Path], Source]
) -> None:
    source = make(trees[name])
    records = [source.load(item) for item in source.items()]
    assert len(records) > 1
    assert any(record.labels for record in records)


def damaged_file(files: dict[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Draw one file of a tree, damaged."""
    strategies = [st.tuples(st.just(name), damaged(data)) for name, data in files.items()]
    return st.one_of(strategies)


@fuzz(50)
@given(damaged_file(FOLDER))
def test_a_folder_is_read_or_refused(trees: dict[str, Path], change: tuple[str, bytes]) -> None:
    name, data = change
    fill(trees["folder"], {**FOLDER, name: data})
    read_source(lambda: Folder(trees["folder"]))


@fuzz(50)
@given(damaged_file(VOC_TREE))
@example(("Annotations/2007_000001.xml", XML.replace(b"utf-8", b"utf-99")))
@example(("Annotations/2007_000001.xml", XML.replace(b"utf-8", b"big5")))
def test_voc_is_read_or_refused(trees: dict[str, Path], change: tuple[str, bytes]) -> None:
    name, data = change
    fill(trees["voc"], {**VOC_TREE, name: data})
    read_source(lambda: VOC(trees["voc"]))


@fuzz(50)
@given(damaged_file({COCO_FILE: COCO_TREE[COCO_FILE]}))
def test_coco_is_read_or_refused(trees: dict[str, Path], change: tuple[str, bytes]) -> None:
    fill(trees["coco"], {**COCO_TREE, change[0]: change[1]})
    read_source(lambda: COCO(trees["coco"]))


@fuzz(40)
@given(counts, st.lists(texts | st.just("c0"), max_size=3), st.booleans())
def test_many_and_odd_class_names_are_read_or_refused(
    trees: dict[str, Path], count: int, odd: list[str], coco: bool
) -> None:
    names = [f"c{k}" for k in range(count - len(odd))] + odd
    if coco:
        categories = [{"id": k, "name": name} for k, name in enumerate(names)]
        data = json.dumps({**INSTANCES, "categories": categories, "annotations": []}).encode()
        fill(trees["coco"], {**COCO_TREE, COCO_FILE: data})
        source = attempt(lambda: COCO(trees["coco"]))
    else:
        data = "\n".join(names).encode("utf-8", "replace")
        fill(trees["folder"], {**FOLDER, "classes.txt": data, "labels.csv": b"id,labels\na,\n"})
        source = attempt(lambda: Folder(trees["folder"]))
    check_classes(source and source.classes)
    assert source is None or len(source.classes) <= len(names)


TRAILING = (b"", b" \n", b"{}", b"]", b"\0", b",", b'{"images": []}', b"\xff")


@fuzz(60)
@given(st.sampled_from([*INSTANCES, "id", "name", "file_name"]), texts, st.sampled_from(TRAILING))
@example("id", "id", b"")
@example("images", "images", b"")
@example("images", "pictures", b"{}")
def test_repeated_keys_and_trailing_bytes_are_refused(
    trees: dict[str, Path], key: str, second: str, trailing: bytes
) -> None:
    """A key of the file is written a second time, or another key is written, with a number."""
    text, word = json.dumps(INSTANCES), f"{json.dumps(key)}: "
    data = text.replace(word, f"{json.dumps(second)}: 5, {word}", 1).encode() + trailing
    fill(trees["coco"], {**COCO_TREE, COCO_FILE: data})
    source = attempt(lambda: COCO(trees["coco"]))
    assert source is None or (second != key and not trailing.strip())


@fuzz(100)
@given(altered(INSTANCES))
@example({**INSTANCES, "annotations": NESTED})
@example({**INSTANCES, "info": 10**4299})
def test_instances_are_read_or_refused(trees: dict[str, Path], content: Any) -> None:
    data = json.dumps(content).encode("utf-8", "surrogatepass")
    fill(trees["coco"], {**COCO_TREE, COCO_FILE: data})
    read_source(lambda: COCO(trees["coco"]))


@fuzz(100)
@given(altered(EXPORTED))
@example({**EXPORTED, "annotations": NESTED})
def test_exported_annotations_are_read_or_refused(trees: dict[str, Path], content: Any) -> None:
    data = json.dumps(content).encode("utf-8", "surrogatepass")
    fill(trees["exported"], {**EXPORTED_TREE, "result.json": data})
    read_source(lambda: COCO(trees["exported"]))


@fuzz(60)
@given(altered(PANOPTIC), st.booleans())
def test_panoptic_annotations_are_read_or_refused(
    trees: dict[str, Path], content: Any, stuff: bool
) -> None:
    data = json.dumps(content).encode("utf-8", "surrogatepass")
    fill(trees["panoptic"], {**PANOPTIC_TREE, PANOPTIC_FILE: data})
    read_source(lambda: COCO(trees["panoptic"], stuff=stuff))


@fuzz(50)
@given(damaged_file({name: PANOPTIC_TREE[name] for name in (PANOPTIC_FILE, PANOPTIC_PNG)}))
def test_panoptic_files_are_read_or_refused(
    trees: dict[str, Path], change: tuple[str, bytes]
) -> None:
    fill(trees["panoptic"], {**PANOPTIC_TREE, change[0]: change[1]})
    read_source(lambda: COCO(trees["panoptic"]))


RUN_LENGTHS = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=20) | texts


@fuzz(100)
@given(
    RUN_LENGTHS | st.lists(scalars, max_size=4) | scalars,
    st.sampled_from(([8, 12], [8.0, 12], [12, 8])) | values,
)
def test_run_lengths_are_decoded_or_refused(counts: Any, size: Any) -> None:
    """No count reaches beyond the image."""
    try:
        mask = segmentation_mask({"counts": counts, "size": size}, 8, 12)
    except (ValueError, OverflowError) as error:
        check_sentence(str(error))
    else:
        assert mask.shape == (8, 12)


@fuzz(60)
@given(st.lists(texts, min_size=1, max_size=3))
@example(["annotations"])
@example(["train"])
def test_hostile_file_names_stay_below_the_folder(trees: dict[str, Path], names: list[str]) -> None:
    path = "/".join(names)
    images = [{"id": "a", "file_name": path}, {"id": "b", "file_name": path.replace("/", "\\")}]
    data = json.dumps({**EXPORTED, "images": images}).encode("utf-8", "surrogatepass")
    fill(trees["exported"], {**EXPORTED_TREE, "result.json": data})
    source = attempt(lambda: COCO(trees["exported"]))
    for item in (source and attempt(source.items)) or []:
        image = trees["exported"] / item.image
        assert image.resolve().is_relative_to(trees["exported"].resolve())
