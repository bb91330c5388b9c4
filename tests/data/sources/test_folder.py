"""Tests of folders of images with a CSV of labels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss.platform.data.formats.shards import stage_of
from wsss.platform.data.images import decode_mask
from wsss.platform.data.sources.folder import Folder
from wsss.platform.errors import InputError

Bytes = Callable[..., bytes]


def test_classes_splits_and_records_are_read(folder_tree: Path) -> None:
    source = pickle.loads(pickle.dumps(Folder(folder_tree)))
    assert source.name == "folder"
    assert source.classes == ("rock", "tree")
    assert source.splits == {"train": ("train",), "val": ("val",)}
    records = {i.id: source.load(i) for i in source.items()}
    assert {id: r.labels for id, r in records.items()} == {"a": (0, 1), "b": (), "c": (0, 1)}
    assert {id: r.split for id, r in records.items()} == {"a": "train", "b": "train", "c": "val"}
    assert [id for id, r in records.items() if r.mask is not None] == ["c"]
    assert records["b"].pixels.shape == (8, 12, 3)


def test_images_that_the_label_file_does_not_name_are_counted(folder_tree: Path) -> None:
    assert Folder(folder_tree).notes() == []
    (folder_tree / "labels.csv").write_text("id,labels\na,tree\n")
    (folder_tree / "images/notes.txt").touch()
    (note,) = (n for n in Folder(folder_tree).notes() if "left out" in n)
    start = "left out, because labels.csv does not name them: 2 of the files in images, such as b."
    assert note.startswith(start)


def test_without_a_split_column_all_images_are_in_train(folder_tree: Path) -> None:
    (folder_tree / "labels.csv").write_text("id,labels\na,tree\nc,rock\n")
    assert Folder(folder_tree).splits == {"train": ("train",)}


def test_classes_may_be_listed_in_a_file(folder_tree: Path) -> None:
    (folder_tree / "classes.txt").write_text("background\ntree\nrock\ncloud\n")
    assert Folder(folder_tree).classes == ("tree", "rock", "cloud")
    (folder_tree / "classes.txt").write_text("tree\n")
    with pytest.raises(InputError, match=r"labels\.csv, a: label 'rock' is not among tree"):
        Folder(folder_tree)


def test_words_are_names_only_where_nothing_else_can_be_meant(folder_tree: Path) -> None:
    path = folder_tree / "labels.csv"
    path.write_text("id,labels\na,rock\nb,rock tree\nc,tree\n")
    source = Folder(folder_tree)
    assert source.classes == ("rock", "tree")
    assert source.labels == {"a": (0,), "b": (0, 1), "c": (1,)}
    assert "blanks divide names, as in 'rock tree'" in source.notes()[0]
    path.write_text("id,labels\na,rock\nb,rock tree\nc,rock\n")
    with pytest.raises(InputError, match=r"labels\.csv, b: the label 'rock tree' may be one class"):
        Folder(folder_tree)
    for classes, labels in (("rock\ntree\n", (0, 1)), ("rock\nrock tree\n", (1,))):
        (folder_tree / "classes.txt").write_text(classes)
        assert Folder(folder_tree).labels["b"] == labels


def test_names_with_blanks_are_one_class_beside_a_separator(folder_tree: Path) -> None:
    rows = 'a,"dining table;cat",train\nb,cat,train\nc,dining table,val\n'
    (folder_tree / "labels.csv").write_text(f"id,labels,split\n{rows}")
    source = Folder(folder_tree)
    assert source.classes == ("cat", "dining table")
    assert source.labels == {"a": (0, 1), "b": (0,), "c": (1,)}
    assert source.notes() == ["labels.csv: names with blanks are one class each: 'dining table'"]


def test_labels_of_another_file_and_lists_make_the_splits(
    folder_tree: Path, tmp_path: Path, make_mask: Bytes
) -> None:
    (folder_tree / "labels.csv").unlink()
    (folder_tree / "masks/other.png").write_bytes(make_mask(1))
    (tmp_path / "labels.json").write_text('{"a": ["tree"], "b": [], "c": ["rock"], "d": ["tree"]}')
    (folder_tree / "train.txt").write_text("a.jpg masks/other.png\nb.png\n")
    (folder_tree / "val.txt").write_text("c\n")
    source = Folder(folder_tree, labels=tmp_path / "labels.json", lists=("train", "val"))
    items = {i.id: (i.labels, i.split, i.mask) for i in source.items()}
    assert items == {
        "a": ((1,), "train", "masks/other.png"),
        "b": ((), "train", None),
        "c": ((0,), "val", "masks/c.png"),
    }
    assert any("1 masks are named by the list" in note for note in source.notes())
    all_in_train = Folder(folder_tree, labels=tmp_path / "labels.json")
    assert all_in_train.splits == {"train": ("train",)}
    with pytest.raises(InputError, match=r"labels\.json names d, but .*images has no such image"):
        all_in_train.items()
    (folder_tree / "val.txt").write_text("e\n")
    with pytest.raises(InputError, match=r"labels\.json has no labels of image e; its first .* a"):
        Folder(folder_tree, labels=tmp_path / "labels.json", lists=("val",))


def test_lists_beside_a_column_of_splits_are_refused(folder_tree: Path) -> None:
    (folder_tree / "train.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"labels\.csv names splits in a column; leave out"):
        Folder(folder_tree, lists=("train",))


def test_indices_need_classes_and_may_count_from_1(folder_tree: Path) -> None:
    (folder_tree / "labels.csv").write_text("id,labels\na,1\nc,1 2\n")
    with pytest.raises(InputError, match=r"labels\.csv has numbers as labels; list the names"):
        Folder(folder_tree)
    (folder_tree / "classes.txt").write_text("rock\ntree\n")
    source = Folder(folder_tree, label_base=1)
    assert source.labels == {"a": (0,), "c": (0, 1)}
    assert source.settings() == {"lists": [], "labels": "labels.csv", "label_base": 1}
    with pytest.raises(InputError, match=r"c: the label 2 is no index .* say --label-base 1"):
        Folder(folder_tree)


def test_the_fingerprint_changes_with_the_labels(folder_tree: Path) -> None:
    before = Folder(folder_tree).fingerprint()
    assert Folder(folder_tree).fingerprint() == before
    path = folder_tree / "labels.csv"
    path.write_text(path.read_text().replace("c,rock;tree", "c,rock"))
    assert Folder(folder_tree).fingerprint() != before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,labels\n", r"labels\.csv has no rows"),
        ("name,labels\na,tree\n", r"labels\.csv needs the columns id and labels.*name"),
        ("id,labels\na,tree\na,rock\n", r"labels\.csv names a twice"),
        ("id,labels\na/b,tree\n", r"image id 'a/b' is not allowed"),
        ("id,labels\na,\n", r"labels\.csv names 0 classes"),
        ("id,labels,split\na,tree,\nc,rock,val\n", r"labels\.csv, a: the split is missing; name"),
        ("id,labels,split\na,tree,\nc,rock,\n", r"labels\.csv, a: the split is missing"),
        ("id,labels\na,tree\nc,nan\n", r"labels\.csv, c: the label 'nan' may be a missing value"),
    ],
)
def test_a_faulty_csv_is_refused(folder_tree: Path, text: str, sentence: str) -> None:
    (folder_tree / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        Folder(folder_tree)


def test_columns_that_are_not_read_are_named(folder_tree: Path) -> None:
    path = folder_tree / "labels.csv"
    path.write_text(",id,labels,subset,Label\n0,a,tree,train,x\n1,b,,val,y\n2,c,rock,val,z\n")
    source = Folder(folder_tree)
    assert source.splits == {"train": ("train",)}
    assert source.notes() == ["labels.csv: columns that are not read: 'subset', 'Label'"]


@pytest.mark.parametrize("form", ["images/{}", "./images/{}", "/x/folder/images/{}", "{}"])
def test_a_path_to_the_folder_of_images_is_an_id(folder_tree: Path, form: str) -> None:
    path = folder_tree / "labels.csv"
    path.write_text(f"id,labels\n{form.format('a.jpg')},tree\nc,rock\n")
    assert Folder(folder_tree).labels == {"a": (1,), "c": (0,)}


@pytest.mark.parametrize(
    "name", ["/data/upload/1/a.jpg", "https://x.org/new/a.jpg", "train/a.jpg", "IMAGES/a.jpg"]
)
def test_a_path_to_a_folder_that_is_not_here_names_the_image(folder_tree: Path, name: str) -> None:
    (folder_tree / "labels.csv").write_text(f"id,labels\n{name},tree\nc,rock\n")
    assert set(Folder(folder_tree).labels) == {"a", "c"}


def test_a_path_of_an_image_in_no_list_is_no_matter(folder_tree: Path) -> None:
    (folder_tree / "test").mkdir()
    (folder_tree / "labels.csv").write_text("id,labels\na,tree\ntest/z.jpg,rock\n")
    (folder_tree / "train.txt").write_text("a\n")
    assert set(Folder(folder_tree, lists=("train",)).labels) == {"a"}


@pytest.mark.parametrize("name", ["new/a.jpg", "images/new/a.jpg", "new/images/a.jpg", r"new\a"])
def test_a_path_to_another_folder_is_refused(folder_tree: Path, name: str) -> None:
    (folder_tree / "new/images").mkdir(parents=True)
    (folder_tree / "labels.csv").write_text(f"id,labels\n{name},tree\nc,rock\n")
    if "\\" in name:
        with pytest.raises(InputError, match="is not allowed"):
            Folder(folder_tree)
        return
    folder = name.rpartition("/")[0]
    with pytest.raises(
        InputError, match=rf"labels\.csv, a: .* in the folder '{folder}', but images is read; put"
    ):
        Folder(folder_tree)


def test_lists_give_paths_to_images_in_other_folders(
    folder_tree: Path, make_picture: Bytes
) -> None:
    (folder_tree / "new").mkdir()
    (folder_tree / "new/a.jpg").write_bytes(make_picture(seed=5))
    (folder_tree / "train.txt").write_text("new/a.jpg\nc\n")
    for name in ("a", "new/a.jpg"):
        (folder_tree / "labels.csv").write_text(f"id,labels\n{name},tree\nc,rock\n")
        images = [item.image for item in Folder(folder_tree, lists=("train",)).items()]
        assert images == ["new/a.jpg", "images/c.jpeg"]
    (folder_tree / "labels.csv").write_text("id,labels\nimages/a.jpg,tree\nc,rock\n")
    with pytest.raises(InputError, match=r"a: .* in the folder 'images', but new is read"):
        Folder(folder_tree, lists=("train",))


def test_a_tree_of_a_folder_a_class_is_refused_with_what_to_do(folder_tree: Path) -> None:
    (folder_tree / "images/tree").mkdir()
    (folder_tree / "images/a.jpg").rename(folder_tree / "images/tree/a.jpg")
    with pytest.raises(
        InputError, match=r"names a, but .*; folders in it, such as tree, are not read: move their"
    ):
        Folder(folder_tree).items()


def test_a_missing_image_is_named(folder_tree: Path) -> None:
    (folder_tree / "images/b.png").unlink()
    with pytest.raises(InputError, match=r"labels\.csv names b, but .*images has no such image"):
        Folder(folder_tree).items()


def test_a_missing_folder_or_csv_is_named(folder_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        Folder(tmp_path / "nowhere")
    (tmp_path / "x.tar").touch()
    with pytest.raises(InputError, match=r"x\.tar is a file, no folder; unpack an archive first$"):
        Folder(tmp_path / "x.tar")
    (folder_tree / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"there is no .*labels\.csv"):
        Folder(folder_tree)


def test_a_faulty_mask_is_refused(folder_tree: Path, make_mask: Bytes, make_picture: Bytes) -> None:
    source = Folder(folder_tree)
    item = next(i for i in source.items() if i.id == "c")
    for data, sentence in (
        (make_mask(3), r"mask .*c\.png .* 3; allowed are 0"),
        (make_mask(1, width=13), r"mask .*c\.png is 13x8"),
        (make_picture("PNG"), r"mask .*c\.png has pixel mode RGB"),
    ):
        (folder_tree / "masks/c.png").write_bytes(data)
        with pytest.raises(InputError, match=sentence):
            source.load(item)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({"resize_masks": True}, {"resize_masks": True}),
        ({"orientation": "stored"}, {"orientation": "stored"}),
        ({"mask_values": ("2=rock",)}, {"mask_values": [["2", "rock"]]}),
    ],
)
def test_each_option_is_a_setting_and_changes_the_key(
    folder_tree: Path, options: dict[str, Any], settings: dict[str, object]
) -> None:
    source = Folder(folder_tree, **options)
    usual = {"lists": [], "labels": "labels.csv", "label_base": None}
    assert source.settings() == usual | settings
    same_key = stage_of(source).key == stage_of(Folder(folder_tree)).key
    assert same_key == (not options)


def test_masks_are_read_as_the_options_say(folder_tree: Path, make_mask: Bytes) -> None:
    words = ("0=background", "2=rock", "255=void")
    source = Folder(folder_tree, mask_values=words, resize_masks=True)
    (folder_tree / "masks/a.png").write_bytes(make_mask(2, height=16, width=24))
    records = {item.id: source.load(item) for item in source.items()}
    np.testing.assert_array_equal(records["c"].mask, decode_mask(make_mask(1), "expected"))
    assert records["c"].notes == ("the mask was read by --mask-values",)
    assert records["a"].mask is not None
    assert records["a"].mask.shape == (8, 12)
    assert records["b"].notes == ()


def test_an_option_that_names_no_class_is_refused(folder_tree: Path) -> None:
    with pytest.raises(InputError, match=r"--mask-values: 'cat' is not among .*rock, tree"):
        Folder(folder_tree, mask_values=("1=cat",))
