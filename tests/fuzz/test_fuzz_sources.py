"""Fuzz tests of damaged annotations and whole trees of images."""

from __future__ import annotations

import io
import json
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
from small_files import CSV, NAMES, check_classes, fill
from wsss.platform.data.images import decode_image, encode_png
from wsss.platform.data.sources.coco import COCO
from wsss.platform.data.sources.coco.segmentations import segmentation_mask
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.source import Source
from wsss.platform.data.sources.voc import VOC

XML = b"""<?xml version="1.0" encoding="utf-8"?><!DOCTYPE a [<!ENTITY b "cat">]>
<annotation><object><name>cat</name></object><object><name>&b;</name></object></annotation>"""


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
    for record in records:
        np.testing.assert_array_equal(record.pixels, decode_image(record.image, record.id))
        assert record.orientation == 1


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
