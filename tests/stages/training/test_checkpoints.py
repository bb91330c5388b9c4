"""Tests of checkpoints: a checkpoint is verified before a training resumes from it."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from wsss.platform.errors import InputError
from wsss.platform.stages.training import checkpoints
from wsss.platform.storage.local_storage import LocalStorage


def fault_of(home: Path) -> str:
    return checkpoints.fault(LocalStorage(home.parent).location(home.name))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "epoch_0001"
    folder.mkdir()
    checkpoints.save({"weight": torch.arange(5.0), "epoch": 1}, folder)
    record = {"latest_checkpoint_result": {"checkpoint_dir_name": folder.name}}
    (tmp_path / checkpoints.SNAPSHOT).write_text(json.dumps(record))
    return tmp_path


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    """The store then reports it in a sentence."""
    (tmp_path / checkpoints.STATE).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoints.save({"weight": torch.arange(5.0)}, tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))


def test_an_intact_checkpoint_is_loaded(home: Path) -> None:
    assert fault_of(home) == ""
    state = checkpoints.load(home / "epoch_0001")
    assert torch.equal(state["weight"], torch.arange(5.0))
    assert state["epoch"] == 1


def test_a_missing_training_has_no_fault(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "none") == ""


def test_a_training_without_checkpoint_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / checkpoints.SNAPSHOT).write_text('{"latest_checkpoint_result": null}')
    assert fault_of(tmp_path) == ""


def test_a_checkpoint_that_is_not_recorded_as_the_last_is_not_verified(home: Path) -> None:
    (home / "epoch_0002").mkdir()
    (home / "epoch_0002" / checkpoints.STATE).write_bytes(b"half")
    assert fault_of(home) == ""


@pytest.mark.parametrize("offset", [10, 200, -30])
def test_a_flipped_bit_is_found(home: Path, offset: int) -> None:
    path = home / "epoch_0001" / checkpoints.STATE
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))
    assert "does not match its SHA-256" in fault_of(home)
    with pytest.raises(InputError, match="does not match its SHA-256"):
        checkpoints.load(path.parent)


@pytest.mark.parametrize("name", [checkpoints.STATE, checkpoints.SUM])
def test_a_missing_file_is_named(home: Path, name: str) -> None:
    (home / "epoch_0001" / name).unlink()
    assert fault_of(home) == f"its checkpoint lacks {name}"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"latest_checkpoint_result": 3}'])
def test_a_damaged_record_of_checkpoints_is_reported(home: Path, text: str) -> None:
    (home / checkpoints.SNAPSHOT).write_text(text)
    assert fault_of(home) == "its record of checkpoints is damaged"


@pytest.mark.parametrize("name", ["", "..", "../epoch_0001", "epoch//0001", "epoch_0001\0"])
def test_a_record_that_names_no_folder_of_the_training_is_damaged(home: Path, name: str) -> None:
    record = {"latest_checkpoint_result": {"checkpoint_dir_name": name}}
    (home / checkpoints.SNAPSHOT).write_text(json.dumps(record))
    assert fault_of(home) == "its record of checkpoints is damaged"
