"""Tests that the options of reading images and masks reach the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsss.platform.cli import resolve
from wsss.platform.cli.options.source_options import SourceOptions
from wsss.platform.cli.parser import parse
from wsss.platform.errors import InputError

FILES = {
    "folder": {"images/a.jpg": "x", "labels.csv": "id,labels\na,cat\n"},
    "voc": {
        "JPEGImages/a.jpg": "x",
        "ImageSets/Segmentation/train.txt": "a\n",
        "image_labels.csv": "id,labels\na,cat\n",
    },
}
WORDS = ("--orientation", "applied", "--resize-masks", "--mask-values", "0=background", "1=cat")


@pytest.fixture(params=FILES)
def words(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return a command that reads a small data set of each kind."""
    for name, text in FILES[request.param].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return ["data", request.param, str(tmp_path)]


def settings_of(words: list[str]) -> dict[str, object]:
    options = parse(words)
    assert isinstance(options, SourceOptions)
    return resolve.source(options).settings()


def test_each_option_of_reading_masks_reaches_the_source(words: list[str]) -> None:
    expected = {
        "orientation": "applied",
        "resize_masks": True,
        "mask_values": [["0", "background"], ["1", "cat"]],
    }
    settings = settings_of([*words, *WORDS])
    assert {name: settings[name] for name in expected} == expected
    assert not expected.keys() & settings_of(words).keys()


def test_values_of_masks_may_stand_in_a_file(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "values.csv").write_text("value,class\n0,background\n1,cat\n")
    in_file = settings_of([*words, "--mask-values", str(tmp_path / "values.csv")])
    assert in_file == settings_of([*words, "--mask-values", "0=background", "1=cat"])


def test_a_wrong_orientation_or_value_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="--orientation is 'up'; it must be stored or applied"):
        settings_of([*words, "--orientation", "up"])
    with pytest.raises(InputError, match="--mask-values: 'unicorn' is not among background"):
        settings_of([*words, "--mask-values", "1=unicorn"])
