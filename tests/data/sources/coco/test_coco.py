"""Tests of COCO trees against COCO's own API, and of the sentence for each fault."""

from __future__ import annotations

import io
import itertools
import json
import math
import pickle
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsss.platform.data.formats.shard_records import row_of
from wsss.platform.data.formats.shards import Digest, convert
from wsss.platform.data.images import decode_mask
from wsss.platform.data.sources import json_stream
from wsss.platform.data.sources.coco import COCO
from wsss.platform.data.sources.coco.segmentations import segmentation_mask
from wsss.platform.data.sources.json_stream import read_elements
from wsss.platform.errors import InputError

SHARED = Path(__file__).parents[5] / "shared/data/labels/coco14"
WIDTH, HEIGHT = 12, 8
IDS = (9, 30, 25, 71)
"""Ids of the images; the last image has no annotation."""
ONE = {"image_id": 9, "category_id": 1}
IMAGE = {"id": 9, "file_name": "a.jpg", "height": 8, "width": 12}
GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers between 1 and 90 that no category of COCO has."""


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


CROWD = {"size": [HEIGHT, WIDTH], "counts": [10, 20, 66]}
ANNOTATIONS = [
    {"image_id": 9, "category_id": 3, "iscrowd": 0, "segmentation": [square(1, 1, 5)]},
    {"image_id": 30, "category_id": 1, "iscrowd": 0, "segmentation": [[0.5, 0.5, 9.3, 2, 4, 7.2]]},
    {"image_id": 9, "category_id": 1, "iscrowd": 0, "segmentation": [square(3, 3, 4)]},
    {"image_id": 30, "category_id": 7, "iscrowd": 1, "segmentation": CROWD},
    {"image_id": 25, "category_id": 7, "segmentation": [square(0, 0, 2), square(6, 4, 3)]},
]


def content(part="train", **changes):
    listed = [
        {"id": k, "file_name": f"COCO_{part}2014_{k:012d}.jpg", "height": HEIGHT, "width": WIDTH}
        for k in IDS
    ]
    names = {7: "train", 1: "person", 3: "hot dog"}
    annotated = [{"id": n, "area": 1.5, **a} for n, a in enumerate(ANNOTATIONS)]
    whole = {
        "info": {"description": 'a ] } " [ {\\', "year": 2014},
        "images": listed,
        "licenses": [],
        "annotations": annotated,
        "categories": [{"id": k, "name": v} for k, v in names.items()],
    }
    return {**whole, **changes}


@pytest.fixture
def coco_tree(tmp_path, make_picture):
    root = tmp_path / "coco"
    for part in ("train", "val"):
        folder = root / f"{part}2014"
        folder.mkdir(parents=True)
        for k in IDS:
            name = f"COCO_{part}2014_{k:012d}.jpg"
            (folder / name).write_bytes(make_picture("JPEG", (WIDTH, HEIGHT), k))
        put(root, content(part), part)
    return root


def put(root, value, part="train"):
    path = root / "annotations" / f"instances_{part}2014.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def by_id(source):
    return {int(i.id.rsplit("_", 1)[1]): i for i in source.items() if i.split == "train"}


def test_splits_classes_and_labels_are_read(coco_tree):
    source = COCO(coco_tree)
    assert source.classes == ("person", "hot dog", "train")
    assert source.splits == {"train": ("train",), "train_aug": ("train",), "val": ("val",)}
    item_by_id = by_id(source)
    assert list(item_by_id) == sorted(IDS)
    assert item_by_id[9].id == "COCO_train2014_000000000009"
    labels = {k: i.labels for k, i in item_by_id.items()}
    assert labels == {9: (0, 1), 25: (2,), 30: (0, 2), 71: ()}  # a crowd counts


def test_images_without_labels_are_kept_or_left_out(coco_tree):
    whole, labelled = COCO(coco_tree), COCO(coco_tree, labelled=True)
    assert len(whole.items()) == 8
    assert len(labelled.items()) == 6
    assert whole.fingerprint() != labelled.fingerprint()
    for item in labelled.items():  # the index does not shift
        assert labelled.load(item).labels == item.labels == whole.load(item).labels


def test_a_data_set_of_no_image_is_refused(coco_tree):
    """The sentence comes before Ray gets any work, also from `--check`."""
    for part in ("train", "val"):
        put(coco_tree, content(part, annotations=[]), part)
    assert len(COCO(coco_tree).items()) == 8
    labelled = COCO(coco_tree, labelled=True)
    for read in (labelled.items, labelled.fingerprint, lambda: convert(None, labelled, True)):
        with pytest.raises(InputError, match=r"val2014.json has a label; leave out --labelled"):
            read()
    for part in ("train", "val"):
        put(coco_tree, content(part, images=[], annotations=[]), part)
    for options in ({}, {"labelled": True}):
        with pytest.raises(InputError, match="the source coco lists no image"):
            convert(None, COCO(coco_tree, **options), False)


def test_masks_equal_those_of_the_api(coco_tree):
    """Crowds are skipped, later annotations cover earlier ones, and no pixel is void."""
    from pycocotools.coco import COCO as API

    with redirect_stdout(io.StringIO()):
        api = API(str(coco_tree / "annotations/instances_train2014.json"))
    classes = {7: 3, 1: 1, 3: 2}
    source = COCO(coco_tree)
    for k, item in by_id(source).items():
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        for annotation in api.loadAnns(api.getAnnIds(imgIds=[k])):
            if not annotation.get("iscrowd", 0):
                expected[api.annToMask(annotation) > 0] = classes[annotation["category_id"]]
        record = source.load(item)
        np.testing.assert_array_equal(record.mask, expected)
    assert set(np.unique(source.load(by_id(source)[9]).mask)) == {0, 1, 2}


def test_a_source_pickles_without_its_polygons(coco_tree):
    source = COCO(coco_tree)
    data = pickle.dumps(source)
    assert b"segmentation" not in data
    copy = pickle.loads(data)
    for item in source.items():
        assert row_of(copy.load(item)) == row_of(source.load(item))


@pytest.mark.shared
def test_classes_come_in_the_communitys_order(coco_tree):
    """The 80 categories, numbered 1 to 90 with gaps, count from 0 as in CLIP-ES's lists."""
    if not SHARED.is_dir():
        pytest.skip("the community's label lists ../shared/data/labels/coco14 are not here")
    lines = (SHARED / "classes_sipe.txt").read_text().splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines if line.strip()][1:81]
    numbers = [k for k in range(1, 91) if k not in GAPS]
    categories = [
        {"id": k, "name": name} for k, name in reversed(list(zip(numbers, names, strict=True)))
    ]
    line = (SHARED / "train_with_labels_clipes.txt").read_text().splitlines()[0]
    id, *labels = line.split()
    assert (id, labels) == ("COCO_train2014_000000000009", ["45", "49", "50"])
    annotated = [  # bowl, orange, broccoli: what COCO says of image 9
        {"image_id": 9, "category_id": c, "segmentation": [square(0, 0, 3)]} for c in (51, 55, 56)
    ]
    for part in ("train", "val"):
        put(coco_tree, content(part, categories=categories, annotations=annotated), part)
    source = COCO(coco_tree)
    assert list(source.classes) == names
    assert by_id(source)[9].labels == tuple(map(int, labels))
    assert [source.classes[n] for n in by_id(source)[9].labels] == ["bowl", "orange", "broccoli"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('{"images": [{"id": 1', "not readable JSON at byte"),
        ("[1, 2]", "holds a list, not an object with images, annotations, categ"),
        ("5", "not readable JSON at byte 0"),
        ('{"images": [{"id": 1}]}', "images at byte 12: the key 'file_name' is missing"),
        ({"categories": []}, "lists no categories"),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "annotations": []},
            "'a' is listed twice",
        ),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}]}, "image 9 is listed twice"),
        ({"images": [{**IMAGE, "id": 2**70}]}, "no whole number"),
        ({"images": [{**IMAGE, "height": 3_000_000_000}]}, "no whole number"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "listed twice"),
        (
            {"annotations": [{"image_id": 5, "category_id": 1}]},
            "byte .*image_id is 5, .* no such image",
        ),
        ({"annotations": [{"image_id": 9, "category_id": 2}]}, "byte .*category_id is 2, "),
        ({"annotations": [{"image_id": "a", "category_id": 1}]}, "image_id is 'a'"),
        ({"annotations": [{"image_id": "009", "category_id": 1}]}, "image_id is '009'"),
        (
            {"annotations": [{"id": 4, **ONE}, ONE, {"id": 4, **ONE}]},
            "byte .*4 is listed",
        ),
        ({"annotations": [{"id": 1.5, **ONE}]}, "annotations at byte .*no whole number"),
        (
            '{"images": [], "categories": [], "images": []}',
            "the key 'images' twice, again at byte 33",
        ),
        ('{"info": 1, "images": [], "info": 2}', "the key 'info' twice, again at byte 26"),
        ('{"images": [{"id": 1, "id": 2}]}', "the key 'id' twice in the object at byte 12"),
        ('{"info": {"a": {"b": 1, "b": 1}}}', "the key 'b' twice in the object at byte 9"),
        ('{"info": "é", "x": {"é": 1, "\\u00e9": 1}}', "twice in the object at byte 20"),
        ('{"images": []} {"images": []}', "goes on behind the end of its JSON, at byte 15"),
        ("{}\n\n\0", "goes on behind the end of its JSON, at byte 4"),
        ("{5: 1}", "a key that is no text at byte 1"),
        (f'{{"info": {"9" * 9000}}}', "not readable JSON at byte 9"),
        (
            {"images": [{"id": 1, "file_name": "../../x.jpg", "height": 1, "width": 1}]},
            "file name '../../x.jpg' is no path below a folder",
        ),
    ],
)
def test_a_fault_in_a_file_is_reported_in_one_sentence(coco_tree, change, message):
    put(coco_tree, change if isinstance(change, str) else content(**change))
    with pytest.raises(InputError, match="(?s)" + message.replace("(", "\\(")) as caught:
        COCO(coco_tree)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3]], "x, y"),
        ([["a", 2, 3, 4, 5, 6]], "no list of x, y"),
        ([[0, 0, 1e9, 0, 5, 5]], "leaves the 12x8 image"),
        ([[0, 0, math.nan, 0, 5, 5]], "leaves"),
        ([[0, 0, 10**400, 0, 5, 5]], "too large"),
        ("xyz", "neither polygons nor"),
        ({"size": [8, 12], "counts": "abc"}, "are damaged"),
        ({"size": [12, 8], "counts": [96]}, r"size \[12, 8\], and the image is \[8, 12\]"),
        ({"size": [8, 12], "counts": [95]}, "add up"),
        ({"size": [8, 12], "counts": [-1, 97]}, "no whole number"),
        ({}, "counts"),
    ],
)
def test_an_impossible_segmentation_is_reported_with_its_byte(coco_tree, segmentation, message):
    one = {"image_id": 9, "category_id": 1, "segmentation": segmentation}
    put(coco_tree, content(annotations=[one]))
    source = COCO(coco_tree)
    with pytest.raises(InputError, match=f"annotation at byte [0-9]+.*{message}"):
        source.load(by_id(source)[9])


def test_sizes_and_files_are_checked(coco_tree, make_picture):
    source = COCO(coco_tree)
    item = by_id(source)[25]
    path = coco_tree / item.image
    path.write_bytes(make_picture("JPEG", (HEIGHT, WIDTH)))
    with pytest.raises(InputError, match=r"8x12 pixels.*says"):
        source.load(item)
    path.unlink()
    with pytest.raises(InputError, match=r"lists 'COCO_train2014_000000000025\.jpg"):
        source.items()
    with pytest.raises(InputError, match="instances_train2017"):
        COCO(coco_tree, year="2017")


def test_one_image_under_two_names_is_refused(coco_tree, make_picture):
    whole = content()
    whole["images"][1]["file_name"] = "COCO_train2014_000000000009.jpeg"
    path = coco_tree / "train2014" / "COCO_train2014_000000000009.jpeg"
    path.write_bytes(make_picture("JPEG", (WIDTH, HEIGHT)))
    put(coco_tree, whole)
    with pytest.raises(InputError, match=r"id COCO_train2014_000000000009 is that of .*jpg' of"):
        COCO(coco_tree).items()


def test_names_beyond_ascii_and_a_byte_order_mark_are_read(coco_tree):
    whole = content(categories=[{"id": k, "name": n} for k, n in ((1, "âne"), (3, "猫"), (7, "x"))])
    for part in ("train", "val"):
        path = coco_tree / "annotations" / f"instances_{part}2014.json"
        text = json.dumps(
            whole if part == "train" else content(part, categories=whole["categories"]),
            ensure_ascii=False,
        )
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert COCO(coco_tree).classes == ("âne", "猫", "x")


def test_white_space_after_the_end_is_ignored(coco_tree):
    put(coco_tree, json.dumps(content()) + " \r\n\t" * 3)
    assert len(COCO(coco_tree).classes) == 3


def test_an_outline_without_area_covers_no_pixel():
    assert not segmentation_mask([[1, 1, 4, 4]], 8, 12).any()
    assert not segmentation_mask([], 8, 12).any()
    assert segmentation_mask([[1, 1, 4, 4], square(0, 0, 3)], 8, 12).sum() == 9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99999, 99999) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(JSON, max_size=4) | JSON, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_streamed_objects_equal_those_of_the_whole_file(
    tmp_path, monkeypatch, whole, indent, ascii, chunk
):
    """The objects depend neither on the layout nor on where a chunk ends."""
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    data = json.dumps(whole, indent=indent, ensure_ascii=ascii).encode()
    path = tmp_path / "a.json"
    path.write_bytes(data)
    keys = {k for k, v in whole.items() if isinstance(v, list)} - {"f"}
    streamed = list(read_elements(path, keys))
    assert [name for name, *_ in streamed] == [k for k in whole if k in keys for _ in whole[k]]
    members = [v for k in whole if k in keys for v in whole[k]]
    assert [json.loads(data[start:end]) for _, _, start, end in streamed] == members
    assert [value for _, value, _, _ in streamed] == members


@pytest.mark.parametrize("depth", [100_000])
def test_a_file_that_is_nested_too_deep_is_refused(tmp_path, depth):
    path = tmp_path / "a.json"
    path.write_text('{"images": ' + "[" * depth)
    with pytest.raises(InputError, match="not readable JSON"):
        list(read_elements(path, ("annotations",)))


def digest_of(rows):
    """Return the digest of rows with encoded masks."""
    masks = {r["id"]: decode_mask(r["mask"], r["id"]) if r["mask"] else None for r in rows}
    return sum(itertools.starmap(Digest.of_image, masks.items()), Digest())


def test_digests_depend_on_ids_and_pixels_but_not_on_order(coco_tree):
    source = COCO(coco_tree)
    rows = [row_of(source.load(i)) for i in source.items()]
    assert digest_of(rows) == digest_of(rows[::-1]) == digest_of(rows[:3]) + digest_of(rows[3:])
    other = [{**rows[0], "mask": rows[1]["mask"]}, *rows[1:]]
    assert digest_of(other).ids == digest_of(rows).ids
    assert digest_of(other).masks != digest_of(rows).masks
    assert digest_of(rows[1:]).ids != digest_of(rows).ids
