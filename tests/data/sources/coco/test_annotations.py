"""Tests of annotations as tools export them, against COCO's own API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from annotation_files import CATEGORIES, HEIGHT, SQUARE, WIDTH, annotations_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as api
from wsss.platform.data.sources.coco import COCO
from wsss.platform.data.sources.coco.segmentations import form_of, segmentation_mask
from wsss.platform.errors import InputError

CAT, DOG = 17, 41


def outline_mask(polygons, height=HEIGHT, width=WIDTH):
    """Return the pixels of polygons by COCO's API alone."""
    return api.decode(api.merge(api.frPyObjects(polygons, height, width))).astype(bool)


def compressed(mask, size=None):
    runs = api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": size or list(mask.shape), "counts": runs["counts"].decode()}


def uncompressed(mask):
    """Return run lengths down the columns, counted pixel by pixel."""
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def record_of(write_files, annotations, crowds=None, **changes):
    """Return the source and the record of one image with some annotations."""
    annotations = [{"id": k, "image_id": 1, **a} for k, a in enumerate(annotations)]
    contents = annotations_of("a.jpg", annotations=annotations, **changes)
    files = {"annotations/instances_train2014.json": contents, "train2014/a.jpg": None}
    source = COCO(write_files(files), crowds=crowds)
    return source, source.load(source.items()[0])


POINTS = st.floats(-4, 16, allow_nan=False, width=32).map(lambda v: round(v, 2))
POLYGON = st.lists(st.tuples(POINTS, POINTS), min_size=3, max_size=7).map(
    lambda points: [v for point in points for v in point]
)
RUNS = st.lists(st.booleans(), min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH).map(
    lambda pixels: np.array(pixels).reshape(HEIGHT, WIDTH)
)


@st.composite
def exported(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    """Draw an annotation as a tool writes it, and the pixels that it covers."""
    category = draw(st.sampled_from((CAT, DOG)))
    kind = draw(st.sampled_from(("polygons", "flat", "points", "inner points", "runs", "packed")))
    polygons = draw(st.lists(POLYGON, min_size=1, max_size=2))
    first = polygons[0]
    pairs = [first[k : k + 2] for k in range(0, len(first), 2)]
    pixels = draw(RUNS)
    segmentation, mask = {
        "polygons": (polygons, outline_mask(polygons)),
        "flat": (first, outline_mask([first])),
        "points": (pairs, outline_mask([pairs_to_list(pairs)])),
        "inner points": ([pairs], outline_mask([first])),
        "runs": (uncompressed(pixels), pixels),
        "packed": (compressed(pixels, [float(HEIGHT), WIDTH]), pixels),
    }[kind]
    crowd = draw(
        st.sampled_from(({}, {"iscrowd": 0}, {"iscrowd": 1}, {"iscrowd": "0"}, {"iscrowd": None}))
    )
    annotation = {"category_id": category, "segmentation": segmentation, **crowd}
    return annotation, mask


def pairs_to_list(pairs):
    return [v for pair in pairs for v in pair]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(exported(), max_size=4), st.sampled_from(("background", "draw")))
def test_labels_and_masks_equal_those_of_the_api(write_files, drawn, crowds):
    """Annotations are drawn in the order of the file, whatever their form; crowds are skipped."""
    far = {"category_id": DOG, "segmentation": [[0, 0, 9, 0, 9, 1]]}  # in pixels
    _, record = record_of(write_files, [far, *(a for a, _ in drawn)], crowds)
    expected = 2 * outline_mask(far["segmentation"]).astype(np.uint8)
    for annotation, mask in drawn:
        if crowds == "draw" or annotation.get("iscrowd") != 1:
            expected[mask] = 1 if annotation["category_id"] == CAT else 2
    np.testing.assert_array_equal(record.mask, expected)
    present = {a["category_id"] for a, _ in drawn} | {DOG}
    assert record.labels == tuple(k for k, id in enumerate((CAT, DOG)) if id in present)


def test_a_file_of_crowds_alone_needs_a_choice(write_files):
    """CVAT marks every mask that was drawn by brush as a crowd."""
    pixels = outline_mask(SQUARE)
    mask = {"category_id": CAT, "segmentation": uncompressed(pixels), "iscrowd": 1}
    with pytest.raises(
        InputError, match=r"marks all of its 1 annotations as crowds .* --crowds draw"
    ):
        record_of(write_files, [mask])
    drawn, record = record_of(write_files, [mask], "draw")
    np.testing.assert_array_equal(record.mask, pixels)
    name = "annotations/instances_train2014.json: 1 of 1 annotations are crowds; they give labels "
    assert drawn.notes() == [f"{name}and are drawn"]
    source, record = record_of(write_files, [mask], "background")
    assert (record.labels, record.mask.max()) == ((0,), 0)
    assert source.notes() == [f"{name}and are background; --crowds draw draws them"]
    assert drawn.fingerprint() != source.fingerprint()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_compressed_run_lengths_equal_those_of_the_api(height, width, share, seed, tall):
    mask = np.random.default_rng(seed).random((height, width)) < share
    mask = np.repeat(mask, 300 if tall else 1, axis=0)  # counts of several characters
    runs = compressed(mask)
    np.testing.assert_array_equal(segmentation_mask(runs, *mask.shape), mask)
    np.testing.assert_array_equal(segmentation_mask(uncompressed(mask), *mask.shape), mask)
    as_bytes = {**runs, "counts": str(runs["counts"].encode())}
    np.testing.assert_array_equal(segmentation_mask(as_bytes, *mask.shape), mask)


@pytest.mark.parametrize(
    "segmentation",
    [None, [], [[]], [[1, 2, 3, 4]], [1, 2, 3, 4], {"counts": []}, {"counts": ""}, "no key"],
)
def test_a_box_without_outline_gives_a_label_is_counted_and_draws_nothing(
    write_files, segmentation
):
    box = {"category_id": DOG, "bbox": [1, 1, 5, 2.5], "area": 12.5, "segmentation": segmentation}
    if segmentation == "no key":
        del box["segmentation"]
    source, record = record_of(write_files, [{"category_id": CAT, "segmentation": SQUARE}, box])
    assert record.labels == (0, 1)
    np.testing.assert_array_equal(record.mask, outline_mask(SQUARE))
    assert record.notes == ()
    assert source.notes() == [
        "annotations/instances_train2014.json: 1 of 2 annotations have no outline, only a box or "
        "fewer than three points; they give labels and draw nothing"
    ]


def test_an_image_with_boxes_alone_has_labels_and_no_mask(write_files):
    _, record = record_of(write_files, [{"category_id": DOG, "bbox": [1, 1, 5, 2]}])
    assert (record.labels, record.mask) == ((1,), None)
    assert record.notes == (
        "no annotation of the image has an outline, so the image has labels and no mask",
    )


def test_a_file_without_annotation_has_no_masks(write_files):
    source, record = record_of(write_files, [])
    assert (record.labels, record.mask) == ((), None)
    assert "annotations/instances_train2014.json has no annotation" in source.notes()


def test_odd_forms_of_polygons_are_counted(write_files):
    flat, points = SQUARE[0], [[2, 1], [7, 1], [7, 6], [2, 6]]
    annotations = [{"category_id": CAT, "segmentation": s} for s in (flat, points, SQUARE)]
    source, record = record_of(write_files, annotations)
    np.testing.assert_array_equal(record.mask, outline_mask(SQUARE))
    assert source.notes() == [
        "annotations/instances_train2014.json: 1 of 3 annotations have one polygon x, y, x, y, ... "
        "in place of a list of polygons; it is drawn",
        "annotations/instances_train2014.json: 1 of 3 annotations have one list of points [x, y] "
        "in place of a list of polygons; it is drawn as one polygon",
    ]


@pytest.mark.parametrize(
    ("segmentation", "form"),
    [
        (SQUARE, "polygons"),
        ([[1, 1, 2, 2], SQUARE[0]], "polygons"),
        ([[[1, 1], [2, 2], [1, 2]]], "polygons"),
        (SQUARE[0], "flat"),
        ([[1, 1], [2, 2], [1, 2]], "points"),
        ([[1, 1], [2, 2]], "none"),
        ({"size": [1, 1], "counts": [1]}, "runs"),
        ({}, "runs"),
        ("x", "unknown"),
        (["x"], "unknown"),
        ([SQUARE[0], 5], "unknown"),
    ],
)
def test_forms_of_segmentations_are_told_apart(segmentation, form):
    assert form_of(segmentation) == form


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": {"size": [8, 12], "counts": "0"}}, "do not add up to the 96 pixels"),
        ({"segmentation": {"size": [8, 12], "counts": "P"}}, "are damaged"),
        ({"segmentation": {"size": [8, 12], "counts": "ooooooo0"}}, "are damaged"),
        ({"segmentation": {"size": [8, 12], "counts": "é"}}, "are damaged"),
        ({"segmentation": {"size": [16, 24], "counts": [384]}}, r"size \[16, 24\].*\[8, 12\]"),
        ({"segmentation": {"size": 96, "counts": [96]}}, "the size 96"),
        ({"segmentation": {"size": [8, 12], "counts": 96}}, "counts 96 .* no text and no list"),
        ({"segmentation": SQUARE, "iscrowd": "no"}, "iscrowd is 'no'; it must be 0 or 1"),
        ({"segmentation": SQUARE, "iscrowd": 2}, "iscrowd is 2; it must be 0 or 1"),
    ],
)
def test_an_impossible_annotation_is_refused_with_its_byte(write_files, annotation, message):
    with pytest.raises(InputError, match=rf"2014.json, annotation at byte \d+: .*{message}"):
        record_of(write_files, [{"category_id": CAT, **annotation}])


def test_shares_of_the_size_in_place_of_pixels_are_refused(write_files):
    shares = {"category_id": CAT, "segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 1]]}
    with pytest.raises(InputError, match="coordinates are all from 0 to 1; write them in pixels"):
        record_of(write_files, [shares, {"category_id": CAT}])
    corner = {"category_id": CAT, "segmentation": SQUARE}
    assert record_of(write_files, [shares, corner])[1].mask is not None


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}])
def test_an_absent_size_is_read_from_the_image(write_files, size):
    image = {"id": 1, "file_name": "a.jpg", **size}
    _, record = record_of(
        write_files, [{"category_id": CAT, "segmentation": SQUARE}], images=[image]
    )
    assert record.pixels.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(record.mask, outline_mask(SQUARE))
    assert record.notes == (
        "the annotation file gives no size of the image; the size is read from the image",
    )


def test_whole_sizes_may_be_floats_and_others_are_refused(write_files):
    cat = [{"category_id": CAT, "segmentation": SQUARE}]
    image = {"id": 1, "file_name": "a.jpg", "height": 8.0, "width": 12.0}
    assert record_of(write_files, cat, images=[image])[1].notes == ()
    for wrong in ({**image, "width": 12.5}, {**image, "width": "12"}, {**image, "width": None}):
        with pytest.raises(InputError, match=r"images at byte 12: .* is no whole number from 0"):
            record_of(write_files, cat, images=[wrong])


@pytest.mark.parametrize(
    ("image", "category", "image_id", "category_id"),
    [(1, 17, "1", "17"), ("1", "17", 1, 17.0), ("a/1", "c", "a/1", "c"), ("007", "x", "007", "x")],
)
def test_ids_may_be_texts_where_they_agree(write_files, image, category, image_id, category_id):
    _, record = record_of(
        write_files,
        [{"image_id": image_id, "category_id": category_id, "segmentation": SQUARE}],
        images=[{"id": image, "file_name": "a.jpg"}],
        categories=[{"id": category, "name": "cat"}],
    )
    assert record.labels == (0,)
    assert record.mask.any()


@pytest.mark.parametrize(("listed", "named"), [("007", 7), ("007", "7"), (7, "007"), ("a", "A")])
def test_ids_that_do_not_agree_are_refused(write_files, listed, named):
    image = {"id": listed, "file_name": "a.jpg"}
    with pytest.raises(InputError, match=r"at byte .*: image_id is .*no such image"):
        record_of(write_files, [{"image_id": named, "category_id": CAT}], images=[image])


def test_classes_and_images_with_texts_as_ids_are_in_the_order_of_the_file(write_files):
    """Annotations may stand before what they name."""
    contents = {
        "annotations": [
            {"image_id": "b", "category_id": "y", "segmentation": SQUARE},
            {"image_id": "a", "category_id": "x", "segmentation": SQUARE},
        ],
        "images": [{"id": "b", "file_name": "2.jpg"}, {"id": "a", "file_name": "1.jpg"}],
        "categories": [
            {"id": "z", "name": "ox"},
            {"id": "x", "name": "cat"},
            {"id": "y", "name": "dog"},
        ],
    }
    source = COCO(write_files({"result.json": contents, "1.jpg": None, "2.jpg": None}))
    assert source.classes == ("ox", "cat", "dog")
    assert [(item.id, item.labels) for item in source.items()] == [("2", (2,)), ("1", (1,))]
    assert "the ids of categories are texts; classes are in the order of the file" in source.notes()


def test_roboflows_group_of_all_categories_is_no_class_and_is_named(write_files):
    group = {"id": 0, "name": "animals", "supercategory": "none"}
    members = [{**c, "supercategory": "animals"} for c in CATEGORIES]
    cat = [{"category_id": CAT, "segmentation": SQUARE}]
    source, record = record_of(write_files, cat, categories=[group, *members])
    assert (source.classes, record.labels) == (("cat", "dog"), (0,))
    assert source.notes() == [
        "the category 'animals' has no annotation and is no class, because it is the supercategory "
        "of all other categories"
    ]
    used = [*cat, {"category_id": 0, "segmentation": SQUARE}]
    assert record_of(write_files, used, categories=[group, *members])[0].classes == (
        "animals",
        "cat",
        "dog",
    )
    other = [group, members[0], {**members[1], "supercategory": "pets"}]
    assert len(record_of(write_files, cat, categories=other)[0].classes) == 3


def test_a_group_that_has_annotations_in_another_split_stays_a_class(write_files):
    group = {"id": 0, "name": "animals", "supercategory": "none"}
    categories = [group, *({**c, "supercategory": "animals"} for c in CATEGORIES)]
    one = annotations_of("a.jpg", categories=categories)
    two = annotations_of("b.jpg", categories=categories)
    two["annotations"][0]["category_id"] = 0
    files = {"train.json": one, "val.json": two, "images/a.jpg": None, "images/b.jpg": None}
    assert COCO(write_files(files)).classes == ("animals", "cat", "dog")


@pytest.mark.parametrize("name", ["background", "_background_", "Background"])
def test_a_category_called_background_is_a_class_only_with_annotations(write_files, name):
    categories = [{"id": 0, "name": name}, *CATEGORIES]
    cat = [{"category_id": CAT, "segmentation": SQUARE}]
    source, record = record_of(write_files, cat, categories=categories)
    assert (source.classes, record.labels) == (("cat", "dog"), (0,))
    assert source.notes() == [
        f"the category '{name}' has no annotation and is no class, because of its name"
    ]
    used = [*cat, {"category_id": 0, "segmentation": SQUARE}]
    source, _ = record_of(write_files, used, categories=categories)
    assert source.classes == (name, "cat", "dog")
    assert "is a class beside the background" in source.notes()[0]


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (CATEGORIES[:1], "has other categories than .*train.json: 'dog' is missing"),
        ([*CATEGORIES, {"id": 99, "name": "ox"}], "'ox' is not in .*train.json"),
        ([{"id": 17, "name": "dog"}, {"id": 41, "name": "cat"}], "in another order of ids"),
    ],
)
def test_splits_with_different_categories_are_refused(write_files, categories, message):
    one, two = annotations_of("a.jpg"), annotations_of("b.jpg", categories=categories)
    files = {"train.json": one, "val.json": two, "images/a.jpg": None, "images/b.jpg": None}
    with pytest.raises(InputError, match=message):
        COCO(write_files(files))
