"""Tests that no process moves an artifact which another process has published meanwhile."""

from __future__ import annotations

import pickle

import pytest
from stored_artifacts import Compute, objects, overwrite
from wsss.platform.errors import InputError
from wsss.platform.storage.store import Store, open_store

FAULT = "a.bin does not match its SHA-256"


@pytest.fixture
def store(storage):
    return Store(storage)


@pytest.fixture
def other(storage):
    """Return the same store as another process sees it."""
    return Store(pickle.loads(pickle.dumps(storage)))


def replace(store, stage):
    """Move the artifact of a stage to quarantine, and return the one that is computed again."""
    store.quarantine(store.folder(stage.name, stage.key), "it was judged before")
    artifact, cached = store.get(stage, Compute())
    assert not cached
    return artifact


def damage(store, stage):
    store.manifest(stage.name, stage.key).write(b"{")


def test_an_artifact_that_was_replaced_while_it_was_judged_is_served(
    store, other, stage, monkeypatch
):
    store.get(stage, Compute())
    replaced, judge = [], type(store.storage).fault

    def slow(storage, manifest, again=False):
        monkeypatch.setattr(type(storage), "fault", judge)
        replaced.append(replace(other, stage))
        return FAULT

    monkeypatch.setattr(type(store.storage), "fault", slow)
    artifact = store.find(stage.name, stage.key)
    assert artifact.manifest == replaced[0].manifest
    assert artifact.file("a.bin").read() == b"content of a"
    assert [fault.partition(": ")[2] for fault in store.faults()] == ["it was judged before"]
    assert store.unmoved == {}


def test_an_artifact_that_was_moved_while_it_was_judged_is_missing(
    store, other, stage, monkeypatch
):
    store.get(stage, Compute())

    def slow(storage, manifest, again=False):
        other.quarantine(other.folder(stage.name, stage.key), "it was judged before")
        raise FileNotFoundError(2, "No such file or directory", "a.bin")

    monkeypatch.setattr(type(store.storage), "fault", slow)
    assert store.find(stage.name, stage.key) is None
    assert len(store.faults()) == 1


def test_a_damaged_artifact_is_left_to_the_process_that_holds_its_lock(store, other, stage):
    store.get(stage, Compute())
    damage(store, stage)
    with other.lock(stage.key):
        assert store.find(stage.name, stage.key) is None
        assert list(store.unmoved) == [stage.key]
        assert store.faults() == []
        assert other.find(stage.name, stage.key, locked=True) is None
        assert len(other.faults()) == 1
    assert not store.get(stage, Compute())[1]
    assert store.find(stage.name, stage.key)


def test_a_damaged_file_of_an_earlier_attempt_moves_no_later_attempt(bucket, stage, elsewhere):
    store = open_store(bucket)
    earlier = store.get(stage, Compute())[0]
    (name,) = (n for n in objects(store) if "/a.bin~" in n)
    replace(open_store(bucket), stage)
    store.storage.bucket.write(name, b"damaged in a")
    elsewhere()
    with pytest.raises(InputError, match="was computed again meanwhile"):
        list(earlier.folder.content("a.bin", earlier.manifest["files"]["a.bin"]["sha256"]))
    assert store.find("thing", stage.key)
    assert len(store.faults()) == 1


def test_an_attempt_is_not_published_over_an_artifact(store, other, stage):
    """Over NFS a process may find no artifact although another process has just published one."""
    published, _ = other.get(stage, Compute())
    begun = store.storage.new_attempt(stage.name, stage.key)
    about = Compute()(begun)
    artifact = store._publish(stage, begun, about, 1.0)
    assert artifact.manifest == published.manifest
    assert artifact.file("a.bin").read() == b"content of a"
    assert store.faults() == []


def test_a_damaged_file_moves_no_attempt_that_another_process_uploads(bucket, stage, elsewhere):
    store = open_store(bucket)
    store.get(stage, Compute())
    overwrite(store, "/a.bin~", b"another of a")
    begun = store.storage.new_attempt(stage.name, stage.key)
    (begun / "a.bin").write_bytes(b"content of a")
    elsewhere()
    one, other = (open_store(bucket).open(stage.name, stage.key) for _ in range(2))
    with pytest.raises(InputError, match="was moved to quarantine, and the next run"):
        one.file("a.bin").local()
    assert other.folder._set_aside("a.bin").startswith("was moved to quarantine meanwhile")
    assert [name.startswith(begun.attempt) for name in objects(store)] == [True]
    assert len(store.faults()) == 1
