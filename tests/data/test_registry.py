"""Tests of the register of data sets."""

from __future__ import annotations

import pytest
from wsss.platform.data import registry
from wsss.platform.errors import InputError
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path):
    """Return a store with the record of a data set whose shards are missing."""
    store = Store(tmp_path)
    write_json(store.location("data", "birds.json"), {"key": KEY, "source": "folder"})
    return store


def quarantine(store, kind, key, fault):
    store.location(kind, key, "file").write(b"x")
    store.quarantine(store.location(kind, key), fault)


def test_missing_shards_are_not_called_damaged(store):
    quarantine(store, "training", "cd" * 16, "its checkpoint is damaged")
    quarantine(store, "artifacts/shards", "ef" * 32, "shards of another data set")
    with pytest.raises(InputError, match=r"^data set 'birds' has no shards in this store; make it"):
        registry.open_dataset(store, "birds")


def test_the_fault_of_damaged_shards_is_named(store):
    quarantine(store, "artifacts/shards", KEY, "train-00000.parquet is missing")
    quarantine(store, "training", "cd" * 16, "its checkpoint is damaged")
    with pytest.raises(InputError, match=r"quarantine \(shards-abab.*: train-00000.parquet is"):
        registry.open_dataset(store, "birds")
