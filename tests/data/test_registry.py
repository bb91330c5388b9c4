"""Tests of the register of data sets."""

from __future__ import annotations

import pytest
from wsss.platform.data import registry
from wsss.platform.data.formats import shards
from wsss.platform.data.sources.folder import Folder
from wsss.platform.errors import InputError
from wsss.platform.records.progress import ProgressDisplay
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


def shards_without_broken_records(folder, source):
    """Write the shards of a source as `registry.add` does with --quarantine, in this process."""
    items = source.items()
    plan = shards.split_into_shards(items)
    results = [shards.write_shard(folder / name, source, some, True) for name, some in plan]
    return shards.manifest_entries(source, shards.conversion_of(source, items, results))


def test_shards_that_lack_more_records_than_allowed_are_refused(folder_tree, tmp_path):
    path = folder_tree / "images/a.jpg"
    path.write_bytes(path.read_bytes()[:200])
    source, store = Folder(folder_tree), Store(tmp_path / "store")
    store.get(shards.stage_of(source), lambda f: shards_without_broken_records(f, source))
    for share in (0.0, 0.3):
        with pytest.raises(
            InputError, match=r"^1 of 3 records are broken; the first: .*a\.jpg is n"
        ):
            registry.add(store, source, "mine", ProgressDisplay(), share)
    assert registry.names(store) == []
    artifact, cached = registry.add(store, source, "mine", ProgressDisplay(), 0.4)
    assert (cached, artifact.about["counts"]) == (True, {"train": 1, "val": 1})


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
