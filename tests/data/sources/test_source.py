"""Tests of the names of classes, records and images that a data set may have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from wsss.platform.data.names import check_classes, check_id, check_name
from wsss.platform.data.readers import files
from wsss.platform.data.readers.classes.class_files import read_classes
from wsss.platform.data.sources.coco import COCO
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.record_files import exclusive_subsets
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.sources.source import Source
from wsss.platform.data.sources.voc import VOC
from wsss.platform.errors import InputError

Maker = Callable[[Path, list[str]], Source]


def folder_of(root: Path, names: list[str]) -> Source:
    (root / "images").mkdir()
    (root / "images/a.png").write_bytes(b"x")
    (root / "labels.csv").write_text("id,labels\na,\n")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return Folder(root)


def labels_of(root: Path, names: list[str]) -> Source:
    (root / "images").mkdir()
    (root / "images/a.png").write_bytes(b"x")
    (root / "labels.csv").write_text(f"id,labels\na,{';'.join(names)}\n")
    return Folder(root)


def voc_of(root: Path, names: list[str]) -> Source:
    for name in ("JPEGImages/a.jpg", "ImageSets/Segmentation/train.txt", "Annotations/a.xml"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("a")
    (root / "Annotations/a.xml").write_text("<annotation/>")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return VOC(root)


def coco_of(root: Path, names: list[str]) -> Source:
    for name in ("train2014/a.jpg", "annotations/instances_train2014.json"):
        (root / name).parent.mkdir()
        (root / name).write_text("a")
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    content = {"images": [], "annotations": [], "categories": categories}
    (root / "annotations/instances_train2014.json").write_text(json.dumps(content))
    return COCO(root)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError) as raised:
        files.read_file(path)
    assert str(raised.value) == f"{path} cannot be read: No such file or directory"


MAKERS = (folder_of, labels_of, voc_of, coco_of)


@pytest.mark.parametrize("make", MAKERS)
def test_a_source_has_at_most_254_classes(tmp_path: Path, make: Maker) -> None:
    names = [f"c{k:03d}" for k in range(300)]
    for count in (1, 254):
        root = tmp_path / str(count)
        root.mkdir()
        assert make(root, names[:count]).classes == tuple(names[:count])
    for count in (255, 300):
        root = tmp_path / str(count)
        root.mkdir()
        with pytest.raises(InputError, match=rf"{count}/.* names {count} classes; .* 1 to 254"):
            make(root, names[:count])


@pytest.mark.parametrize("make", [folder_of, voc_of])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a\x07b", "holds a control character"),
        ("\x1c", "is empty"),
        ("a\x85b", "holds a control character"),
        ("a\u2028b", "holds a control character"),
        ("", "is empty"),
        ("\xa0", "is empty"),
        ("cat", "twice"),
        ("n" * 201, "over 200"),
    ],
)
def test_a_class_name_of_a_file_is_refused_with_its_line(
    tmp_path: Path, make: Maker, name: str, fault: str
) -> None:
    with pytest.raises(InputError, match=rf"classes\.txt, line 3: the class name .*{fault}"):
        make(tmp_path, ["background", "cat", name, "dog"])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a\0", "holds a control character"),
        ("\ud800", "surrogate"),
        ("", "is empty"),
        ("cat", "twice"),
        (None, "is no text"),
        (5, "is no text"),
        ("n" * 201, "over 200"),
    ],
)
def test_a_category_is_refused_with_its_byte(tmp_path: Path, name: str, fault: str) -> None:
    with pytest.raises(InputError, match=rf"2014\.json, categories at byte \d+: .*{fault}"):
        coco_of(tmp_path, ["cat", name, "dog"])


def test_a_label_that_is_no_class_name_is_refused_with_its_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.csv, a: .* holds a control character"):
        labels_of(tmp_path, ["cat", "a\x01"])


def test_names_in_any_script_are_class_names(tmp_path: Path) -> None:
    names = ["hot dog", "âne", "猫", "سگ\u200cها", "🐈", "a,b"]
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n\n \n", encoding="utf-8")
    assert read_classes(tmp_path / "classes.txt").classes == tuple(names)
    assert check_classes(Scenes().classes, "scenes") == Scenes().classes


@pytest.mark.parametrize("name", ["-rf", "--help", "-", ".x", "..", "_x", "", "a/b", "a" * 201])
def test_a_name_of_a_record_begins_with_a_letter_or_a_digit(name: str) -> None:
    with pytest.raises(InputError, match="begins with a letter or a digit"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "0", "a-b_c.d", "lpcam-scenes-0a1b", "a" * 200])
def test_valid_names_of_records_are_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("id", ["2007_000032", "COCO_train2014_000000000009", "-0a_00001", "_x"])
def test_valid_ids_of_images_are_accepted(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("split", ["-rf", ".hidden", "../up"])
def test_a_split_must_have_the_name_of_a_record(tmp_path: Path, split: str) -> None:
    labels_of(tmp_path, ["cat"])
    (tmp_path / "labels.csv").write_text(f"id,labels,split\na,cat,{split}\n")
    with pytest.raises(InputError, match="begins with a letter or a digit"):
        Folder(tmp_path)
    with pytest.raises(InputError, match="begins with a letter or a digit"):
        exclusive_subsets({"train": ["a"], split: ["b"]})


def test_a_file_too_large_to_read_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 9)
    (tmp_path / "a").write_text("ten bytes!")
    for read in (
        lambda: files.read_text(tmp_path / "a"),
        lambda: files.read_bytes(tmp_path, "a", "a"),
    ):
        with pytest.raises(InputError, match="it has 10 bytes; at most 9 are read"):
            read()
