"""platform.asked: what the words of a command say of an experiment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from wsss.platform import asked, datasets
from wsss.platform.cli import parser
from wsss.platform.experiment import experiment
from wsss.platform.store import Store


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
    """A figure stands beside the paper's numbers, so that its other options are the paper's."""
    monkeypatch.setattr(
        datasets, "open_dataset", lambda store, name: SimpleNamespace(about={"source": name})
    )
    options = parser().parse_args(words.split())
    made = asked.experiment(options, Store("none"), 0, method="lpcam")
    wanted = experiment("lpcam", preset=preset, changes={"data": options.data, "seed": 0})
    assert made.as_dict() == wanted.as_dict()
