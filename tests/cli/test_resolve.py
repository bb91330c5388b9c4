"""Tests of platform.cli.resolve: the experiment that the options of a command describe."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from wsss.platform.cli import resolve
from wsss.platform.cli.options.source_options import path_by_split
from wsss.platform.cli.parser import parse
from wsss.platform.data import registry
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.storage.store import Store


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        ("run lpcam --data voc", "default"),
        ("run lpcam --data scenes", "scenes"),
        ("run lpcam --data voc --preset release", "release"),
        ("figure lpcam-5 --data voc", "paper"),
        ("figure lpcam-5 --data scenes", "scenes"),
        ("figure lpcam-5 --data voc --preset default", "default"),
    ],
)
def test_command_and_data_choose_the_preset(
    words: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure is compared with the paper's numbers, so its other options are the paper's too."""
    monkeypatch.setattr(
        registry, "open_dataset", lambda store, name: SimpleNamespace(about={"source": name})
    )
    options = parse(words.split())
    made = resolve.experiment(options, Store("none"), 0, method="lpcam")
    expected = build_experiment("lpcam", preset=preset, changes={"data": options.data, "seed": 0})
    assert made.as_dict() == expected.as_dict()


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("--backbone", "network.backbone", "small"),
        ("--weights", "network.weights", "a.pth"),
        ("--refine", "refine.kind", "crf"),
        ("--segment", "segment.network", "upernet"),
    ],
)
def test_an_option_and_a_set_of_its_field_are_refused(option: str, field: str, value: str) -> None:
    options = parse(f"run cam --preset scenes {option} {value} --set {field}={value}".split())
    with pytest.raises(InputError, match=f"{option} and --set {field} set the same field"):
        resolve.experiment(options, Store("none"), 0)


@pytest.mark.parametrize("kind", ["voc", "folder"])
def test_lists_and_labels_are_those_of_the_options(kind: str, tmp_path: Path) -> None:
    folders = {"voc": ("JPEGImages", "ImageSets/Segmentation"), "folder": ("images", "")}
    images, lists = (tmp_path / folder for folder in folders[kind])
    for folder in (images, lists):
        folder.mkdir(parents=True, exist_ok=True)
    (images / "a.jpg").write_bytes(b"")
    (lists / "mine.txt").write_text("a.jpg\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\nox\n")
    (tmp_path / "cls.txt").write_text("a 3\n")
    words = ["data", kind, str(tmp_path), "--lists", "mine", "--labels", str(tmp_path / "cls.txt")]
    source = resolve.source(parse([*words, "--label-base", "1"]))
    assert [(item.id, item.split, item.labels) for item in source.items()] == [("a", "mine", (2,))]
    assert source.settings()["label_base"] == 1
    assert "cls.txt: labels are indices of classes, 1 (cat) to 3 (ox)" in source.notes()
    with pytest.raises(InputError, match="say --label-base 1"):
        resolve.source(parse(words))


@pytest.mark.parametrize("base", ["2", "-1", "one", ""])
def test_a_label_base_is_0_or_1(base: str) -> None:
    with pytest.raises(
        InputError, match=r"--label-base is .*; it must be a whole number from 0 to"
    ):
        parse(["data", "voc", "p", f"--label-base={base}"])


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        (["/a"], {"": "/a"}),
        (["train=/a", "val=/b=c"], {"train": "/a", "val": "/b=c"}),
        (["/x=y"], {"": "/x=y"}),
    ],
)
def test_paths_may_name_their_split(values: list[str], paths: dict[str, str]) -> None:
    assert path_by_split("--images", values) == paths
    assert path_by_split("--images", ["/a"], "train") == {"train": "/a"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["/a", "/b"], "--images has two paths of all splits; write SPLIT=PATH for each"),
        (["val=/a", "val=/b"], "--images has two paths of the split val; write SPLIT=PATH"),
        (
            ["/a", "val=/b"],
            "--images has one path for all splits and a path for one split; write SPLIT",
        ),
    ],
)
def test_paths_of_one_split_are_refused_when_there_are_two(values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        path_by_split("--images", values)


def test_options_of_coco_reach_the_source(tmp_path: Path) -> None:
    contents = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "one.json").write_text(json.dumps(contents))
    (tmp_path / "two.json").write_text(json.dumps(contents))
    (tmp_path / "p q").mkdir()
    (tmp_path / "p q" / "a.jpg").write_bytes(b"x")
    words = f"data coco {tmp_path} --labelled --stuff --annotations val={tmp_path}/two.json"
    options = parse([*words.split(), "--images", f"{tmp_path}/p q"])
    source = resolve.source(resolve.with_absolute_paths(options))
    assert source.settings() == {
        "year": "",
        "labelled": True,
        "stuff": True,
        "annotations": {"val": "two.json"},
        "images": {"val": "p q"},
    }
