"""Tests of where annotation files and images are looked for, and of what is said about it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from annotation_files import HEIGHT, WIDTH, annotations_of
from PIL import Image
from wsss.platform.data.sources.coco import COCO
from wsss.platform.errors import InputError

ONE, TWO = annotations_of("a.jpg"), annotations_of("b.jpg")
BOTH = {"train": ("train",), "train_aug": ("train",), "val": ("val",)}
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, str], list[str]]] = {
    "the year of COCO": (
        {
            "annotations/instances_train2017.json": ONE,
            "annotations/instances_val2017.json": TWO,
            "annotations/panoptic_train2017.json": ONE,
            "annotations/captions_train2017.json": ONE,
            "annotations/instances_minival2017.json": ONE,
            "train2017/a.jpg": None,
            "val2017/b.jpg": None,
        },
        {"a": "train2017/a.jpg", "b": "val2017/b.jpg"},
        [],
    ),
    "without year": (
        {
            "annotations/instances_train.json": ONE,
            "annotations/instances_val.json": TWO,
            "train/a.jpg": None,
            "val/b.jpg": None,
        },
        {"a": "train/a.jpg", "b": "val/b.jpg"},
        [],
    ),
    "CVAT with subsets": (
        {
            "annotations/instances_Train.json": ONE,
            "annotations/instances_Validation.json": TWO,
            "images/Train/a.jpg": None,
            "images/Validation/b.jpg": None,
        },
        {"a": "images/Train/a.jpg", "b": "images/Validation/b.jpg"},
        [
            "train: annotations annotations/instances_Train.json, images in images/Train",
            "val: annotations annotations/instances_Validation.json, images in images/Validation",
        ],
    ),
    "Roboflow": (
        {
            "train/_annotations.coco.json": ONE,
            "valid/_annotations.coco.json": TWO,
            "test/_annotations.coco.json": annotations_of("c_jpg.rf.0123abcd.jpg"),
            "README.dataset.txt": b"x",
            "train/a.jpg": None,
            "valid/b.jpg": None,
            "test/c_jpg.rf.0123abcd.jpg": None,
        },
        {
            "a": "train/a.jpg",
            "b": "valid/b.jpg",
            "c_jpg.rf.0123abcd": "test/c_jpg.rf.0123abcd.jpg",
        },
        [
            "train: annotations train/_annotations.coco.json, images in train",
            "val: annotations valid/_annotations.coco.json, images in valid",
            "test: annotations test/_annotations.coco.json, images in test",
        ],
    ),
    "LVIS": (
        {
            "annotations/lvis_v1_train.json": annotations_of(
                {
                    "coco_url": "http://images.example.org/train2017/000000000009.jpg",
                    "not_exhaustive_category_ids": [41],
                    "neg_category_ids": [],
                }
            ),
            "annotations/lvis_v1_val.json": annotations_of(
                {
                    "coco_url": "http://images.example.org/train2017/000000000025.jpg",
                    "not_exhaustive_category_ids": [],
                }
            ),
            "train2017/000000000009.jpg": None,
            "train2017/000000000025.jpg": None,
        },
        {
            "000000000009": "train2017/000000000009.jpg",
            "000000000025": "train2017/000000000025.jpg",
        },
        [
            "train: annotations annotations/lvis_v1_train.json, images in .",
            "annotations/lvis_v1_train.json: in 1 of 1 images not all objects are annotated "
            "(not_exhaustive_category_ids); labels and masks lack them",
            "val: annotations annotations/lvis_v1_val.json, images in .",
        ],
    ),
    "folders in file names": (
        {
            "annotations/instances_train2014.json": annotations_of("train2014\\a.jpg"),
            "annotations/instances_val2014.json": annotations_of("./val2014//b.jpg"),
            "train2014/a.jpg": None,
            "val2014/b.jpg": None,
        },
        {"a": "train2014/a.jpg", "b": "val2014/b.jpg"},
        [
            "train: annotations annotations/instances_train2014.json, images in .",
            "val: annotations annotations/instances_val2014.json, images in .",
        ],
    ),
    "two names in a folder of annotations": (
        {"annotations/train.json": ONE, "annotations/val.json": TWO, "images/a.jpg": None}
        | {"images/b.jpg": None},
        {"a": "images/a.jpg", "b": "images/b.jpg"},
        [
            "train: annotations annotations/train.json, images in images",
            "val: annotations annotations/val.json, images in images",
        ],
    ),
}
SINGLE: dict[str, tuple[dict[str, Any], str]] = {
    "Label Studio": (
        {"result.json": annotations_of("images/0/a.jpg"), "images/0/a.jpg": None},
        "images/0/a.jpg",
    ),
    "Label Studio on Windows": (
        {"result.json": annotations_of("images\\a.jpg"), "images/a.jpg": None},
        "images/a.jpg",
    ),
    "CVAT": (
        {"annotations/instances_default.json": ONE, "images/default/a.jpg": None},
        "images/default/a.jpg",
    ),
    "older CVAT": (
        {"annotations/instances_default.json": ONE, "images/a.jpg": None},
        "images/a.jpg",
    ),
    "FiftyOne": ({"labels.json": ONE, "data/a.jpg": None}, "data/a.jpg"),
    "labelme": (
        {"annotations.json": annotations_of("JPEGImages/a.jpg"), "JPEGImages/a.jpg": None},
        "JPEGImages/a.jpg",
    ),
    "one folder": ({"_annotations.coco.json": ONE, "a.jpg": None}, "a.jpg"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_with_usual_names_are_read(write_files, name):
    files, image_by_id, notes = LAYOUTS[name]
    source = COCO(write_files(files))
    assert {item.id: item.image for item in source.items()} == image_by_id
    assert source.notes() == notes
    assert {k: v for k, v in source.splits.items() if k != "test"} == BOTH
    assert [source.load(item).labels for item in source.items()] == [(0,)] * len(image_by_id)


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_file_is_of_the_split_train_and_says_so(write_files, name):
    files, image = SINGLE[name]
    source = COCO(write_files(files))
    assert [(i.split, i.image) for i in source.items()] == [("train", image)]
    path = next(iter(files))
    assert f"the name of {path} tells no split" in source.notes()[0]
    assert f"train: annotations {path}, images in " in source.notes()[1]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"readme.txt": b"x"}, "holds no annotation file, such as .* --annotations"),
    "two years": (
        {"annotations/instances_train2014.json": ONE, "annotations/instances_val2017.json": ONE},
        r"several years \(2014, 2017\); choose one with --year",
    ),
    "two kinds": (
        {"annotations/panoptic_train2017.json": ONE, "annotations/lvis_v1_train.json": ONE},
        "several kinds, .*lvis_v1_train.json, .*panoptic_train2017.json; .* --annotations",
    ),
    "two files of a split": (
        {"annotations/instances_val.json": ONE, "annotations/instances_valid.json": ONE},
        "instances_val.json and .*instances_valid.json, both of the split val; .* --annotations",
    ),
    "several files": (
        {"one.json": ONE, "two.json": ONE},
        "several files whose names tell no split, one.json, two.json; .* --annotations",
    ),
    "no image": (
        {"result.json": ONE, "images/b.jpg": None},
        r"result.json lists 'a.jpg', but none of images, .*data holds it; .* --images train=FOLDER",
    ),
    "two images": (
        {"result.json": ONE, "images/a.jpg": None, "a.jpg": None},
        "images and .*data both hold it; name one with --images train=FOLDER",
    ),
    "an id in two folders": (
        {
            "result.json": annotations_of("one/a.jpg", "two/a.png"),
            "images/one/a.jpg": None,
            "images/two/a.png": None,
        },
        "lists 'images/two/a.png', whose id a is that of 'images/one/a.jpg' of train too; .* name",
    ),
    "an id in two splits": (
        {"train.json": ONE, "val.json": ONE, "train/a.jpg": None, "val/a.jpg": None},
        "lists 'val/a.jpg', whose id a is that of 'train/a.jpg' of train too",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_need_a_guess_is_refused_with_the_option(write_files, name):
    files, message = REFUSED[name]
    root = write_files(files)
    with pytest.raises(InputError, match=message):
        COCO(root).items()


ELSEWHERE = (
    "../a.jpg", "x/../a.jpg", "..\\a.jpg", "", ".", "/", 5, None,
    "x" * 256 + "/a.jpg", "x/" * 600 + "a.jpg",
)  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_file_name_that_leads_elsewhere_is_refused_with_its_byte(write_files, name):
    root = write_files({"result.json": annotations_of({"file_name": name}), "a.jpg": None})
    with pytest.raises(InputError, match=r"result.json, images at byte 12: the file name "):
        COCO(root)


def test_one_file_in_two_folders_by_a_link_is_one_file(write_files):
    root = write_files({"result.json": ONE, "images/a.jpg": None})
    (root / "data").symlink_to(root / "images")
    assert COCO(root).items()[0].image == "images/a.jpg"


@pytest.mark.parametrize(
    "name", ["upload/7/a.jpg", "/data/set/a.jpg", "C:\\me\\a.jpg", "s3://bucket/images/a.jpg"]
)
def test_folders_of_file_names_may_be_absent_and_the_notes_say_so(write_files, name):
    root = write_files({"result.json": annotations_of(name), "images/a.jpg": None})
    source = COCO(root)
    assert source.items()[0].image == "images/a.jpg"
    assert "result.json: folders in file names are left out; images lie in images" in source.notes()


def test_files_and_folders_can_be_given_by_split(write_files, tmp_path: Path):
    root = write_files(
        {
            "x/one.json": ONE,
            "x/two.json": TWO,
            "p/a.jpg": None,
            "p/b.jpg": None,
            "images/a.jpg": None,
        }
    )
    annotations = {"train": root / "x/one.json", "held_out": root / "x/two.json"}
    source = COCO(root, annotations=annotations, images=root / "p")
    assert [(i.split, i.image) for i in source.items()] == [
        ("train", "p/a.jpg"),
        ("held_out", "p/b.jpg"),
    ]
    assert list(source.splits) == ["train", "train_aug", "held_out"]
    other = COCO(
        root, annotations=annotations, images={"train": root / "images", "held_out": root / "p"}
    )
    assert other.items()[0].image == "images/a.jpg"
    assert other.fingerprint() != source.fingerprint()
    assert other.settings()["images"] == {"train": "images", "held_out": "p"}


def test_files_beside_the_folder_can_be_given_and_settings_name_no_folder_of_the_machine(
    write_files, tmp_path: Path
):
    root = write_files(
        {"data/images/a.jpg": None, "elsewhere/one.json": ONE, "pictures/a.jpg": None}
    )
    source = COCO(
        root / "data",
        annotations={"train": root / "elsewhere/one.json"},
        images={"train": root / "pictures"},
    )
    assert source.load(source.items()[0]).image == (root / "pictures/a.jpg").read_bytes()
    assert str(tmp_path) not in str(source.settings())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"annotations": {"train": "no.json"}}, "there is no annotation file no.json of the split"),
        ({"annotations": {"-x": "no.json"}}, "the name '-x' is not allowed"),
        (
            {"images": {"val": "images"}},
            "--images names a folder of the split val; there are train",
        ),
        ({"images": "nowhere"}, "there is no folder nowhere of the images of the split train"),
        ({"annotations": {"train": "no.json"}, "year": "2014"}, "--year has no effect"),
        ({"year": "2014"}, "holds no annotations/instances_train2014.json"),
        ({"year": "a/b"}, "is not allowed"),
    ],
)
def test_options_that_do_not_fit_are_refused(write_files, arguments, message):
    root = write_files({"result.json": ONE, "a.jpg": None})
    with pytest.raises(InputError, match=message):
        COCO(root, **arguments)


def test_a_tree_of_coco_has_the_settings_of_earlier_versions(write_files):
    """So shards of a tree that was read before keep their key."""
    files = {"annotations/instances_train2014.json": ONE, "train2014/a.jpg": None}
    assert COCO(write_files(files)).settings() == {"year": "2014", "labelled": False}


def turned(orientation: int) -> bytes:
    """Return a JPEG of the usual size with an EXIF orientation."""
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (WIDTH, HEIGHT)).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(("orientation", "count"), [(1, 0), (3, 1), (6, 1)])
def test_an_orientation_that_is_not_applied_is_noted(
    write_files: Any, orientation: int, count: int
) -> None:
    source = COCO(write_files({"train.json": ONE, "images/a.jpg": turned(orientation)}))
    note = "the EXIF orientation was not applied; annotations count pixels as stored"
    record = source.load(source.items()[0])
    assert (record.orientation, record.notes) == (orientation, (note,) * count)


def test_annotations_of_the_turned_picture_are_refused(write_files: Any) -> None:
    sideways = annotations_of({"file_name": "a.jpg", "height": WIDTH, "width": HEIGHT})
    source = COCO(write_files({"train.json": sideways, "images/a.jpg": turned(6)}))
    with pytest.raises(
        InputError,
        match=r"a\.jpg is 12x8 pixels, train\.json says 8x12; it has EXIF orientation 6, and the "
        r"annotations follow the turned picture; save the picture turned, without EXIF data",
    ):
        source.load(source.items()[0])
