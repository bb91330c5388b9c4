"""Tests of lists of images: ids alone, and paths of images and masks as DeepLab code keeps them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

import pytest
from wsss.platform.data.readers.id_lists import ImageLists, Layout, image_id, read_lists
from wsss.platform.data.sources.voc import VOC
from wsss.platform.errors import InputError

MASKS = ("SegmentationClass", "SegmentationClassAug")
IDS = ["2007_000032", "2008_000008"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Write a tree of two images with masks of both kinds, and one image in another folder."""
    root = tmp_path / "VOC2012"
    for folder, suffix in (("JPEGImages", "jpg"), *((folder, "png") for folder in MASKS)):
        (root / folder).mkdir(parents=True)
        for id in IDS:
            (root / folder / f"{id}.{suffix}").write_bytes(b"")
    (root / "more").mkdir()
    (root / "more/2008_000008.jpg").write_bytes(b"")
    return root


def read(root: Path, **texts: str | bytes) -> ImageLists:
    for name, text in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / f"{name}.txt").write_bytes(data)
    layout = Layout(root=root, images="JPEGImages", masks=MASKS)
    return read_lists({name: root / f"{name}.txt" for name in texts}, layout)


ONE_COLUMN = {
    "ids": "2007_000032\n2008_000008\n",
    "no last line end": "2007_000032\n2008_000008",
    "Windows": "2007_000032\r\n2008_000008\r\n",
    "old Macintosh": "2007_000032\r2008_000008\r",
    "blank lines": "\n2007_000032\n\n \n2008_000008\n\n",
    "trailing blanks": "2007_000032  \n\t2008_000008\t\n",
    "byte order mark": codecs.BOM_UTF8 + b"2007_000032\n2008_000008\n",
    "UTF-16": "2007_000032\r\n2008_000008\r\n".encode("utf-16"),
    "file names": "2007_000032.jpg\n2008_000008.JPG\n",
    "paths": "/JPEGImages/2007_000032.jpg\nJPEGImages/2008_000008.jpg\n",
    "paths of Windows": "JPEGImages\\2007_000032.jpg\n.\\JPEGImages\\2008_000008.jpg\n",
    "paths with the tree": (
        "VOC2012/JPEGImages/2007_000032.jpg\n/a/VOC2012/JPEGImages/2008_000008.jpg"
    ),
    "present": "2007_000032  1\n2008_000008  1\n",
}


@pytest.mark.parametrize("text", ONE_COLUMN.values(), ids=ONE_COLUMN)
def test_images_are_read(tree: Path, text: str | bytes) -> None:
    lists = read(tree, train=text)
    assert lists.ids == {"train": IDS}
    assert (lists.images, lists.masks) == ({}, {})


TWO_COLUMNS = {
    "DeepLab": "/JPEGImages/{}.jpg /SegmentationClassAug/{}.png",
    "without slash": "JPEGImages/{}.jpg SegmentationClassAug/{}.png",
    "tabs": "{}.jpg\tSegmentationClassAug/{}.png\t",
    "commas": "{}.jpg,SegmentationClassAug/{}.png",
    "ids": "{} SegmentationClassAug/{}.png",
    "the tree": "VOC2012/JPEGImages/{}.jpg VOC2012/SegmentationClassAug/{}.png",
    "another machine": "/a/VOC2012/JPEGImages/{}.jpg /a/VOC2012/SegmentationClassAug/{}.png",
    "three columns": "/JPEGImages/{}.jpg /SegmentationClassAug/{}.png /Edges/{}.png",
}


@pytest.mark.parametrize("form", TWO_COLUMNS.values(), ids=TWO_COLUMNS)
def test_a_second_column_names_masks(tree: Path, form: str) -> None:
    lists = read(tree, train="".join(form.replace("{}", id) + "\n" for id in IDS))
    assert lists.ids == {"train": IDS}
    assert lists.masks == {id: f"SegmentationClassAug/{id}.png" for id in IDS}
    assert any("2 masks are named by the list" in note for note in lists.notes)
    left_out = [note for note in lists.notes if "columns after the second are left out" in note]
    assert len(left_out) == ("Edges" in form)


def test_a_mask_without_folder_is_found_in_the_folders_of_masks(tree: Path) -> None:
    (tree / "SegmentationClassAug/other.png").write_bytes(b"")
    lists = read(tree, train=f"{IDS[0]} other.png\n{IDS[1]}.jpg {IDS[1]}.png\n")
    assert lists.masks == {
        IDS[0]: "SegmentationClassAug/other.png",
        IDS[1]: f"SegmentationClass/{IDS[1]}.png",
    }
    assert read(tree, train=f"{IDS[0]} {IDS[0]}\n").masks == {}


def test_masks_of_one_list_count_for_the_images_of_another(tree: Path) -> None:
    lists = read(
        tree, train=f"{IDS[0]}\n", train_aug=f"{IDS[0]} SegmentationClassAug/{IDS[0]}.png\n"
    )
    assert lists.masks == {IDS[0]: f"SegmentationClassAug/{IDS[0]}.png"}
    assert lists.notes[0].startswith("train.txt: 1 images have the masks that another list names")


def test_two_masks_of_one_image_are_refused(tree: Path) -> None:
    with pytest.raises(InputError, match=r"b\.txt, line 1 names \S+ for image .* another list"):
        read(
            tree,
            a=f"{IDS[0]} SegmentationClass/{IDS[0]}.png\n",
            b=f"{IDS[0]} SegmentationClassAug/{IDS[0]}.png\n",
        )


def test_an_image_in_another_folder_is_read_there(tree: Path) -> None:
    lists = read(tree, train=f"{IDS[0]}\nmore/{IDS[1]}.jpg\n")
    assert lists.ids == {"train": IDS}
    assert lists.images == {IDS[1]: "more/2008_000008.jpg"}
    assert "train.txt: 1 images are elsewhere, such as more/2008_000008.jpg" in lists.notes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "list .* is empty"),
        ("2007_000032\n2007_000032\n", "names 2007_000032 twice: line 1 and line 2"),
        ("2007_000032\n2007_000032.jpg\n", "names 2007_000032 twice"),
        ("2007_000032\n# a comment\n", r"line 2: image id '#' is not allowed"),
        ("2007_000032 ../mask.png\n", r"line 1 names '../mask.png'; .* no '\.\.'"),
        ("../2007_000032.jpg\n", r"line 1: the path '../2007_000032.jpg' holds '\.\.'"),
        ("2007_000032 /etc/passwd\n", "line 1 names the mask '/etc/passwd', but there is no"),
        ("2007_000032 /other/SegmentationClass/2007_000032.png\n", "there is no .*/other/Segm"),
        ("other/2007_000032.jpg\n", "line 1 names the image 'other/2007_000032.jpg', but there is"),
        ("2007_000032 cat\n", "line 1: the second column is 'cat', no path of a mask"),
        ("2007_000032 7\n", "line 1: the second column is '7', no path of a mask"),
        ("2007_000032 -1\n2008_000008  1\n", "is a list of one class, in which 1 marks"),
        ("2007_000032 1\n2008_000008 0\n", "is a list of one class"),
        (b"2007_000032\xff\n", "is not read as UTF-8 text"),
    ],
)
def test_lists_with_wrong_or_repeated_lines_are_refused(
    tree: Path, text: str | bytes, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tree, train=text)


def test_the_masks_of_a_list_are_those_of_the_items(voc_tree: Path) -> None:
    kept = voc_tree / "SegmentationClassAug"
    for path in list((voc_tree / "SegmentationClass").iterdir()):
        (kept / path.name).write_bytes(path.read_bytes())
    path = voc_tree / "ImageSets/Segmentation/train_aug.txt"
    lines = [
        f"/JPEGImages/{id}.jpg /SegmentationClassAug/{id}.png" for id in path.read_text().split()
    ]
    plain = VOC(voc_tree)
    path.write_text("\n".join(lines))
    source = VOC(voc_tree)
    masks = {item.id: item.mask for item in source.items()}
    assert masks["2007_000001"] == "SegmentationClassAug/2007_000001.png"
    assert masks["2009_000004"] == "SegmentationClass/2009_000004.png"
    assert any("3 masks are named by the list" in note for note in source.notes())
    assert source.fingerprint() != plain.fingerprint()
    assert all(source.load(item).mask is not None for item in source.items())


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("a.jpg", "a"), ("a.JPEG", "a"), ("x/a.png", "a"), ("a.b", "a.b"), ("a.b.jpg", "a.b"),
        ("x\\a.png", "a"), ("-a", "-a"),
    ],
)  # fmt: skip
def test_the_id_of_a_file_is_its_stem(text: str, id: str) -> None:
    assert image_id(text) == id


@pytest.mark.parametrize("text", ["", "a/b", "../a.jpg", "x/../a.jpg", "/", "a b", "é", "a" * 300])
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(InputError, match=r"not allowed|holds"):
        image_id(text)


def test_lists_are_in_the_settings(voc_tree: Path) -> None:
    names: Sequence[str] = ("val", "train")
    assert VOC(voc_tree, lists=names).settings()["lists"] == ["train", "val"]
