"""Tests of VOC's lists of one class as labels of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from label_kinds import (
    CLASSES,
    LABELS,
)
from wsss.platform.data.readers.labels.label_files import read_labels
from wsss.platform.errors import InputError


def main_lists(folder: Path, flags: Mapping[str, Mapping[str, int]]) -> Path:
    """Write VOC's lists of one class, a half of the images in each of two files."""
    folder.mkdir()
    (folder / "trainval.txt").write_text("a\nb\nc\nd-1.x\n")
    for name, flag_by_id in flags.items():
        rows = [f"{id} {flag:2d}\n" for id, flag in flag_by_id.items()]
        (folder / f"{name}_train.txt").write_text("".join(rows[:2]))
        (folder / f"{name}_val.txt").write_text("".join(rows[2:]))
        (folder / f"{name}_trainval.txt").write_text("".join(rows))
    return folder


FLAGS = {
    name: {id: 1 if k in labels else -1 for id, labels in LABELS.items()}
    for k, name in enumerate(CLASSES)
}


def test_vocs_lists_of_one_class_are_read(tmp_path: Path) -> None:
    folder = main_lists(tmp_path / "Main", FLAGS)
    for classes in (CLASSES, None):
        labels = read_labels(folder, classes)
        assert (labels.by_id, labels.classes) == (LABELS, CLASSES)
    assert labels.notes[0] == (
        "Main: 4 classes have lists of -1, 0 and 1; 0 (difficult objects alone, 0 cases) counts "
        "as present"
    )


def test_difficult_objects_count_as_present(tmp_path: Path) -> None:
    flags = {**FLAGS, "ox": {**FLAGS["ox"], "c": 0}}
    labels = read_labels(main_lists(tmp_path / "Main", flags), CLASSES)
    assert labels.by_id == {**LABELS, "c": (3,)}
    assert "0 (difficult objects alone, 1 cases) counts as present" in labels.notes[0]


def test_other_folders_of_lists_are_refused(tmp_path: Path) -> None:
    folder = main_lists(tmp_path / "Main", FLAGS)
    for name, content, sentence in (
        ("ox_val.txt", "c 1\n", "ox_val.txt, line 1: image c has 1, but -1 in another line"),
        ("ox_val.txt", "c\n", "ox_val.txt, line 1 is no image id with -1, 0 or 1"),
        ("ox_val.txt", "e 1\n", "no list of the class cat names image e"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(InputError, match=sentence):
            read_labels(folder, CLASSES)
        (folder / name).write_text(before)
    with pytest.raises(InputError, match="says nothing on the class emu"):
        read_labels(folder, (*CLASSES, "emu"))
    with pytest.raises(InputError, match="has 0 and 1 for 'ox', which is no class"):
        read_labels(folder, CLASSES[:3])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none has no lists of classes, such as cat_trainval"):
        read_labels(tmp_path / "none", CLASSES)
