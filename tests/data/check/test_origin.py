"""Tests of what a data set keeps about its origin."""

from __future__ import annotations

import json
from pathlib import Path

from wsss.platform.data.check.origin import MOST_PATTERNS, origin_of, path_patterns
from wsss.platform.data.digests import Digest
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.sources.voc import VOC


def test_the_origin_of_a_voc_tree_names_patterns_and_lists(voc_tree: Path) -> None:
    source = VOC(voc_tree)
    origin = origin_of(source, source.items())
    assert origin["kind"] == "voc"
    assert origin["settings"] == source.settings()
    assert origin["images"] == ["JPEGImages/*.jpg"]
    assert origin["masks"] == ["SegmentationClass/*.png", "SegmentationClassAug/*.png"]
    lists = origin["lists"]
    assert isinstance(lists, dict)
    assert set(lists) == {"train", "train_aug", "val"}
    assert lists["val"] == Digest.of_image("2009_000004", None).as_dict()["ids"]
    assert len(set(lists.values())) == 3
    assert str(voc_tree) not in json.dumps(origin)


def test_the_order_of_a_list_does_not_change_its_digest(voc_tree: Path) -> None:
    before = origin_of(VOC(voc_tree), VOC(voc_tree).items())["lists"]
    path = voc_tree / "ImageSets/Segmentation/train.txt"
    path.write_text("".join(f"{id}\n" for id in reversed(path.read_text().split())))
    assert origin_of(VOC(voc_tree), VOC(voc_tree).items())["lists"] == before


def test_a_folder_and_drawn_scenes_have_an_origin(folder_tree: Path) -> None:
    source = Folder(folder_tree)
    origin = origin_of(source, source.items())
    assert origin["images"] == ["images/*.jpeg", "images/*.jpg", "images/*.png"]
    assert origin["masks"] == ["masks/*.png"]
    drawn = Scenes(train=2, val=1)
    assert origin_of(drawn, drawn.items())["images"] == []
    assert origin_of(drawn, drawn.items())["settings"] == drawn.settings()


def test_patterns_hold_no_folder_of_this_machine_and_are_few() -> None:
    assert path_patterns(["/srv/data/masks/a.png"]) == ["masks/*.png"]
    many = [f"images/{k:04d}/{k}.jpg" for k in range(500)]
    assert path_patterns(many) == ["images/**/*.jpg"]
    assert len(path_patterns(f"{k}/{k}.jpg" for k in range(500))) == MOST_PATTERNS
