"""Tests of finding the files of images and masks by id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wsss.platform.data.readers import image_tree
from wsss.platform.data.readers.files import IMAGE_SUFFIXES
from wsss.platform.data.readers.id_lists import ImageLists
from wsss.platform.data.readers.image_tree import ImageTree
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.voc import VOC
from wsss.platform.errors import InputError

Bytes = Callable[..., bytes]


def tree_of(root: Path, *names: str) -> ImageTree:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return ImageTree(root, "images", ("masks", "more"))


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPG", "a.jpeg", "a.Jpeg", "a.png", "a.PNG", "a.b-c_d.JPG"]
)
def test_an_image_is_found_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    tree = tree_of(tmp_path, f"images/{name}", "images/b.jpg")
    assert tree.image(name.rpartition(".")[0]) == f"images/{name}"


@pytest.mark.parametrize("second", ["a.JPG", "a.png", "a.jpeg"])
def test_two_images_of_one_id_are_one_sentence(tmp_path: Path, second: str) -> None:
    tree = tree_of(tmp_path, "images/a.jpg", f"images/{second}")
    names = " and ".join(sorted(["a.jpg", second]))
    with pytest.raises(InputError, match=f"images holds {names} for image a; keep the right one"):
        tree.image("a")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), r"images has no such image as a\.jpg \(nor \.jpeg, \.png\)$"),
        (("images/a.webp",), r"no such image .*; convert a\.webp to JPEG or PNG"),
        (("images/A.jpg",), r"A\.jpg, whose name differs from image id a in upper and lower case"),
        (("images/.a.jpg", "images/a/x.jpg"), r"no such image"),
    ],
)
def test_a_missing_image_is_named(tmp_path: Path, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        tree_of(tmp_path, *names).image("a")


def test_images_whose_ids_differ_in_case_alone_are_two_images(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/a.jpg", "images/A.png", "masks/A.png")
    assert (tree.image("a"), tree.image("A")) == ("images/a.jpg", "images/A.png")
    assert (tree.mask("a"), tree.mask("A")) == (None, "masks/A.png")


def test_masks_are_found_in_the_order_of_the_folders(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, "images/x.jpg", "masks/a.PNG", "more/a.png", "more/b.mat", "more/c.MAT"
    )
    assert [tree.mask(id) for id in "abcd"] == ["masks/a.PNG", "more/b.mat", "more/c.MAT", None]
    tree = tree_of(tmp_path, "masks/b.png")
    assert tree.mask("b") == "masks/b.png"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("masks/a.png", "masks/a.mat"), r"masks holds a\.mat and a\.png for image a"),
        (("masks/a.jpg",), r"mask .*masks/a\.jpg is a JPEG, whose compression changes values"),
        (("more/A.png",), r"more holds A\.png, whose name differs from image id a in upper"),
    ],
)
def test_a_mask_that_would_need_a_guess_is_refused(
    tmp_path: Path, names: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        tree_of(tmp_path, "images/a.jpg", *names).mask("a")


def test_files_that_a_list_names_go_first_and_are_no_unread_files(tmp_path: Path) -> None:
    names = ("images/a.jpg", "images/a.png", "images/b.JPG", "masks/a.png", "masks/b_mask.png")
    tree_of(tmp_path, *names)
    lists = ImageLists(
        ids={"train": ["a", "b"]},
        images={"a": "other/a.jpg"},
        masks={"a": "more/x.png", "b": "masks/b_mask.png"},
        notes=(),
    )
    tree = ImageTree(tmp_path, "images", ("masks", "more"), lists)
    assert [tree.image(id) for id in "ab"] == ["other/a.jpg", "images/b.JPG"]
    assert [tree.mask(id) for id in "ab"] == ["more/x.png", "masks/b_mask.png"]
    assert tree.notes("b", usual=(".JPG",)) == []
    assert len(ImageTree(tmp_path, "images", ("masks",)).notes("b", usual=(".JPG",))) == 1


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    names = ("images/a.JPG", "images/b.JPG", "images/c.png", "images/d.JPG", "images/readme.txt")
    masks = ("masks/a.npy", "masks/b.npy", "masks/.DS_Store", "masks/Thumbs.db")
    tree = tree_of(tmp_path, *names, *masks, "more/a_mask.png", "more/b_mask.png")
    assert tree.notes(["a", "b", "c"], usual=IMAGE_SUFFIXES) == [
        "images called .JPG in images: 2",
        "files in masks that are not read: 2, such as a.npy; a mask is called ID.png or ID.mat",
        "masks in more: 2, such as a_mask.png, but none is called like an image of the lists",
    ]
    tree = tree_of(tmp_path, "more/a.png", "more/z.png")
    assert tree.notes(["a", "b", "c"], usual=(".JPG",))[0] == "images called .png in images: 1"
    assert not any("more" in note for note in tree.notes(["a"], usual=()))


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{k:04d}" for k in range(300)]
    tree_of(tmp_path, *(f"images/{name}.JPG" for name in names))
    listed = []
    scandir = image_tree.os.scandir
    monkeypatch.setattr(image_tree.os, "scandir", lambda path: listed.append(path) or scandir(path))
    tree = ImageTree(tmp_path, "images", ("masks",))
    assert [tree.image(name) for name in names] == [f"images/{name}.JPG" for name in names]
    assert not any(map(tree.mask, names))
    assert listed == [tmp_path / "images", tmp_path / "masks"]


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png"])
def test_a_voc_tree_may_have_other_suffixes(
    voc_tree: Path, make_picture: Bytes, suffix: str
) -> None:
    before = VOC(voc_tree).fingerprint()
    for path in (voc_tree / "JPEGImages").iterdir():
        path.rename(path.with_suffix(suffix))
    source = VOC(voc_tree)
    assert all(source.load(item).mask is not None for item in source.items())
    assert {item.image for item in source.items()} == {
        f"JPEGImages/{id}{suffix}" for id in source.subset
    }
    assert source.notes() == [f"images called {suffix} in JPEGImages: 4"]
    assert source.fingerprint() != before
    first = next(iter(source.subset))
    (voc_tree / f"JPEGImages/{first}.jpg").write_bytes(make_picture())
    with pytest.raises(InputError, match=rf"list train, train_aug names {first}, but .* holds"):
        VOC(voc_tree).items()


def test_a_folder_names_the_id_of_two_images(folder_tree: Path) -> None:
    (folder_tree / "images/a.PNG").touch()
    with pytest.raises(InputError, match=r"labels\.csv names a, but .* holds a\.PNG and a\.j"):
        Folder(folder_tree).items()
