"""Tests of panoptic files, whose segments are colours of PNG files, pixel by pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH
from PIL import Image
from wsss.platform.data.sources.coco import COCO
from wsss.platform.errors import InputError

THING, CROWD, STUFF, OTHER = 3226956, 7, 70000, 256
"""Ids of segments; each uses other channels."""
CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1, "supercategory": "person"},
    {"id": 5, "name": "dog", "isthing": 1, "supercategory": "animal"},
    {"id": 119, "name": "sky", "isthing": 0, "supercategory": "outdoor"},
]
SEGMENTS = [
    {"id": THING, "category_id": 5, "iscrowd": 0, "area": 20, "bbox": [0, 0, 4, 8]},
    {"id": CROWD, "category_id": 1, "iscrowd": 1},
    {"id": STUFF, "category_id": 119, "iscrowd": 0},
    {"id": OTHER, "category_id": 1},
]
CLASS = {1: 1, 5: 2, 119: 3}
NAME = "annotations/panoptic_train2017.json"


def segments_of(seed=0):
    values = np.array([0, THING, CROWD, STUFF, OTHER])
    return values[np.random.default_rng(seed).integers(0, 5, (HEIGHT, WIDTH))]


def png_of(ids, mode="RGB"):
    channels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(channels).convert(mode).save(out, "PNG")
    return out.getvalue()


def files_of(**changes: Any) -> dict[str, Any]:
    contents = {
        "images": [{"id": 139, "file_name": "x_139.jpg", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"image_id": 139, "file_name": "x_139.png", "segments_info": SEGMENTS}],
        "categories": CATEGORIES,
    }
    return {
        NAME: {**contents, **changes},
        "annotations/panoptic_train2017/x_139.png": png_of(segments_of()),
        "train2017/x_139.jpg": None,
    }


def expected_mask(ids, stuff, crowds):
    """Return the mask by a rule for each pixel: crowds and left out stuff may be background."""
    segment_by_id = {segment["id"]: segment for segment in SEGMENTS}
    out = np.zeros(ids.shape, np.uint8)
    for place, id in np.ndenumerate(ids):
        if id == 0:
            out[place] = 255
        elif crowds or not segment_by_id[int(id)].get("iscrowd"):
            value = CLASS[segment_by_id[int(id)]["category_id"]]
            out[place] = value if value < 3 or stuff else 0
    return out


@pytest.mark.parametrize("crowds", [None, "draw"])
@pytest.mark.parametrize("stuff", [False, True])
def test_labels_and_masks_of_things_and_stuff(write_files, stuff, crowds):
    source = COCO(write_files(files_of()), stuff=stuff, crowds=crowds)
    (item,) = source.items()
    record = source.load(item)
    assert source.classes == ("person", "dog", "sky")[: 3 if stuff else 2]
    assert record.labels == ((0, 1, 2) if stuff else (0, 1))
    np.testing.assert_array_equal(record.mask, expected_mask(segments_of(), stuff, crowds))
    note = "the category 'sky' is stuff (isthing 0) and counts as background; --stuff makes it a"
    assert any(note in text for text in source.notes()) is not stuff
    assert source.settings().get("stuff", False) is stuff
    usual = not stuff and crowds is None
    assert (source.fingerprint() == COCO(source.root).fingerprint()) is usual
    assert f"{NAME}: 1 of 4 segments are crowds; they give labels and are" in source.notes()[-1]


def test_images_without_segments_or_without_annotation(write_files):
    empty = {"image_id": 139, "file_name": "x_139.png", "segments_info": []}
    images = [{"id": k, "file_name": f"x_{k}.jpg"} for k in (7, 139)]
    files = files_of(images=images, annotations=[empty])
    files["annotations/panoptic_train2017/x_139.png"] = png_of(np.zeros((HEIGHT, WIDTH), int))
    files["train2017/x_7.jpg"] = None
    source = COCO(write_files(files))
    first, second = (source.load(item) for item in source.items())
    assert (first.labels, first.mask) == ((), None)
    assert "the image has no panoptic annotation" in first.notes[-1]
    assert (second.mask == 255).all()


GREY = np.zeros((HEIGHT, WIDTH), int)
FAULTS: dict[str, tuple[dict[str, Any], bytes | None, str]] = {
    "a segment that is not listed": (
        {},
        png_of(segments_of() + (segments_of() == CROWD)),
        "has the segment 8, which segments_info does not list",
    ),
    "a grey file": ({}, png_of(GREY, "L"), "no PNG file in RGB with 8 bits"),
    "a file with palette": ({}, png_of(GREY, "P"), "no PNG file in RGB with 8 bits"),
    "another size": ({}, png_of(segments_of().T), "is 8x12 pixels, its image 12x8; both must"),
    "a damaged file": ({}, png_of(segments_of())[:60], "x_139.png is truncated or damaged"),
    "no file": ({}, None, "but there is no 'annotations/panoptic_train2017/x_139.png'; restore"),
    "an id listed twice": (
        {"segments_info": [SEGMENTS[0], *SEGMENTS]},
        png_of(GREY),
        "the segment 3226956 is listed twice",
    ),
    "an id that no colour has": (
        {"segments_info": [{"id": 1 << 24, "category_id": 1}]},
        png_of(GREY),
        "16777216 is no whole number",
    ),
    "a file name that leads elsewhere": ({"file_name": "../a.png"}, png_of(GREY), "'../a.png'"),
    "no file name": ({"file_name": None}, png_of(GREY), "the file name None is no text"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_panoptic_annotation_is_reported_with_its_file(write_files, name):
    change, png, message = FAULTS[name]
    annotation = {"image_id": 139, "file_name": "x_139.png", "segments_info": SEGMENTS, **change}
    files = files_of(annotations=[annotation])
    del files["annotations/panoptic_train2017/x_139.png"]
    if png is not None:
        files["annotations/panoptic_train2017/x_139.png"] = png
    root = write_files(files)
    with pytest.raises(InputError, match=f"panoptic_train2017.*{message}"):
        read_all(COCO(root))


def read_all(source):
    return [source.load(item) for item in source.items()]


def test_a_changed_file_of_segments_changes_the_fingerprint(write_files):
    source = COCO(write_files(files_of()))
    before = source.fingerprint()
    (source.root / "annotations/panoptic_train2017/x_139.png").write_bytes(png_of(GREY))
    assert source.fingerprint() != before


WHOLE = {"image_id": 139, "file_name": "x_139.png", "segments_info": SEGMENTS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"annotations": [WHOLE, {"image_id": 139, "category_id": 1}]},
            "some .* and some have none; give all",
        ),
        ({"annotations": [WHOLE, WHOLE]}, "its image has a panoptic annotation before; keep one"),
        ({"annotations": [{**WHOLE, "segments_info": {}}]}, "segments_info is no list of objects"),
        ({"annotations": [{**WHOLE, "segments_info": [1]}]}, "segments_info is no list of objects"),
        ({"annotations": [{**WHOLE, "segments_info": [{"id": 1}]}]}, "'category_id' is missing"),
        ({"annotations": [{**WHOLE, "segments_info": [{"category_id": 2}]}]}, "category_id is 2"),
        ({"categories": [{"id": 1, "name": "a"}, *CATEGORIES[1:]]}, "isthing is None; it must be"),
    ],
)
def test_a_fault_of_a_panoptic_file_is_reported_with_its_byte(write_files, changes, message):
    root = write_files(files_of(**changes))
    with pytest.raises(InputError, match=rf"panoptic_train2017.json, \w+ at byte \d+: .*{message}"):
        COCO(root)
