"""platform.stages.checkpoints: what a training goes on from is checked first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from wsss.platform.errors import InputError
from wsss.platform.stages.training import checkpoints


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "epoch_0001"
    folder.mkdir()
    checkpoints.save({"weight": torch.arange(5.0), "epoch": 1}, folder)
    record = {"latest_checkpoint_result": {"checkpoint_dir_name": folder.name}}
    (tmp_path / checkpoints.SNAPSHOT).write_text(json.dumps(record))
    return tmp_path


def test_what_is_whole(home: Path) -> None:
    assert checkpoints.fault(home) == ""
    state = checkpoints.load(home / "epoch_0001")
    assert torch.equal(state["weight"], torch.arange(5.0))
    assert state["epoch"] == 1


def test_no_training_has_begun(tmp_path: Path) -> None:
    assert checkpoints.fault(tmp_path / "none") == ""


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    (tmp_path / checkpoints.SNAPSHOT).write_text('{"latest_checkpoint_result": null}')
    assert checkpoints.fault(tmp_path) == ""


def test_one_that_is_not_the_last_does_not_count(home: Path) -> None:
    (home / "epoch_0002").mkdir()
    (home / "epoch_0002" / checkpoints.STATE).write_bytes(b"half")
    assert checkpoints.fault(home) == ""


@pytest.mark.parametrize("at", [10, 200, -30])
def test_a_flipped_bit(home: Path, at: int) -> None:
    path = home / "epoch_0001" / checkpoints.STATE
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    assert "does not match its SHA-256" in checkpoints.fault(home)
    with pytest.raises(InputError, match="does not match its SHA-256"):
        checkpoints.load(path.parent)


@pytest.mark.parametrize("name", [checkpoints.STATE, checkpoints.SUM])
def test_a_missing_file(home: Path, name: str) -> None:
    (home / "epoch_0001" / name).unlink()
    assert checkpoints.fault(home) == f"its checkpoint lacks {name}"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"latest_checkpoint_result": 3}'])
def test_a_damaged_record(home: Path, text: str) -> None:
    (home / checkpoints.SNAPSHOT).write_text(text)
    assert checkpoints.fault(home) == "its record of checkpoints is damaged"
