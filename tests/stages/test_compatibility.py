"""Tests of the trials of methods on kinds of backbones, and of the table on their page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from wsss.methods.cam import CAM
from wsss.platform.cli import main
from wsss.platform.cli.store_commands import matrix_table
from wsss.platform.cli.tables import as_markdown
from wsss.platform.method import methods
from wsss.platform.models.backbones import build
from wsss.platform.stages import compatibility
from wsss.platform.stages.compatibility import KINDS, LEARNERS, RUNS, Trial, tried

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"


@pytest.fixture(scope="module")
def table():
    """Return the table of all trials: one step, smaller images, and a narrower UperNet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsss.platform.models.upernet.WIDTH", 32)
        patch.setattr(compatibility, "SIDE", 48)
        patch.setattr(compatibility, "STEPS", 1)
        return matrix_table()


def test_every_method_and_network_is_tried_on_every_kind(table):
    names = [row[0] for row in table.rows]
    trained = [name for name, method in methods().items() if method.trains]
    assert [name for name in names if "preset" not in name] == [*trained, *LEARNERS]
    assert all(len(row) == 1 + len(KINDS) for row in table.rows)


def test_the_page_has_the_table_that_the_trials_give(table):
    text = PAGE.read_text()
    assert as_markdown(table) in text
    assert "\n".join(f"- {note}" for note in table.notes) in text


def test_the_command_prints_the_table(monkeypatch, capsys):
    made = [
        Trial(learner="cam", kind=kind, refusal="it cannot; use another" if kind == "ViT" else "")
        for kind in KINDS
    ]
    monkeypatch.setattr(compatibility, "trials", lambda: made)
    assert main(["methods", "--matrix", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["ViT"] == "it cannot; use another"
    assert row["ConvNeXt"] == RUNS
    assert main(["methods", "--matrix"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"cam +yes .* no \(1\)\n", out)
    assert "(1) it cannot; use another" in out


def test_cam_runs_on_every_kind(table):
    (row,) = (row for row in table.rows if row[0] == "cam")
    assert row[1:] == [RUNS] * len(KINDS)


def test_a_refusal_is_a_sentence_with_advice(table):
    assert table.notes
    refusals = {row[kind] for row in table.values for kind in KINDS} - {RUNS}
    assert len(refusals) == len(table.notes)
    assert all(re.search(r"; (set|use|choose) ", text) for text in refusals)


class Broken(CAM):
    """CAM whose class maps are negative."""

    def localize(self, network, images, labels):
        return -1 - super().localize(network, images, labels)


class Diverging(CAM):
    """CAM whose loss is not finite."""

    def losses(self, network, batch, progress):
        return {k: v * torch.inf for k, v in super().losses(network, batch, progress).items()}


@pytest.mark.parametrize("method", [Broken, Diverging])
def test_wrong_values_are_no_success(method):
    with pytest.raises(ArithmeticError):
        tried(method(method.Config()), build("small"))


def test_the_networks_are_of_their_kinds():
    networks = {kind: make() for kind, make in KINDS.items()}
    assert networks["ViT"].channels[3] == 64
    assert networks["Swin"].channels[3] == build("swin_t").channels[3] // 4
    rectified = {kind: bool(network.rectified_blocks("c4")) for kind, network in networks.items()}
    assert rectified == {
        "ResNet": True,
        "MobileNetV2": True,
        "EfficientNet": False,
        "ConvNeXt": False,
        "Swin": False,
        "ViT": False,
    }
