"""Tests of artifacts in a bucket: they are safe as on disk, for many machines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from limits import HANG, wait_until
from stored_artifacts import Compute, objects, overwrite, remove
from wsss.platform.errors import InputError, StorageError
from wsss.platform.storage.artifact_files import MANIFEST
from wsss.platform.storage.object_store import bucket as object_bucket
from wsss.platform.storage.object_store import lease
from wsss.platform.storage.object_store.bucket import Bucket
from wsss.platform.storage.store import open_store

GETTER = """
import os, sys, time
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.store import open_store

where, log, seconds = sys.argv[1:]

def compute(folder):
    (folder / "half.bin").write_bytes(b"half")
    with open(log, "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    time.sleep(float(seconds))
    return {"by": os.getpid()}

artifact, cached = open_store(where).get(Stage(name="slow", version=1, config={}), compute)
print(cached, artifact.about["by"])
"""


@pytest.fixture
def store(bucket):
    return open_store(bucket)


def test_an_artifact_is_computed_once_and_read_on_another_machine(store, bucket, stage, elsewhere):
    compute = Compute()
    artifact, cached = store.get(stage, compute)
    assert (cached, str(store)) == (False, bucket)
    assert store.get(stage, compute)[1]
    path = artifact.folder.path
    elsewhere()
    other = open_store(bucket)
    again, cached = other.get(stage, compute)
    assert (cached, compute.calls) == (True, 1)
    assert again.manifest == artifact.manifest
    assert again.folder.path != path
    assert not again.folder.path.exists()
    assert again.file("a.bin").size() == 12
    assert again.file("a.bin").read() == b"content of a"
    assert again.file("deep/b.bin").read() == b"content of b"
    assert not again.file("c.bin").local().exists()


def test_the_manifest_is_written_last(store, stage, monkeypatch):
    created, create = [], Bucket.create

    def watched(self, name, data):
        if name.endswith(MANIFEST):
            created.append(sorted(objects(store)))
        return create(self, name, data)

    monkeypatch.setattr(Bucket, "create", watched)
    store.get(stage, Compute())
    assert [len(names) for names in created] == [2]
    names = sorted(n.rpartition("/")[2].partition("~")[0] for n in objects(store))
    assert names == ["a.bin", "b.bin", MANIFEST]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_an_aborted_computation_leaves_nothing(store, stage, error):
    with pytest.raises(type(error)):
        store.get(stage, Compute(error))
    assert store.find("thing", stage.key) is None
    assert objects(store, "") == {}
    assert store.get(stage, Compute())[1] is False


def test_a_half_uploaded_attempt_is_invisible_and_the_next_replaces_it(store, bucket, stage):
    half = store.storage.new_attempt("thing", stage.key)
    (half / "a.bin").write_bytes(b"half of")
    assert len(objects(store)) == 1
    assert store.find("thing", stage.key) is None
    artifact, cached = store.get(stage, Compute())
    assert not cached
    assert artifact.file("a.bin").read() == b"content of a"
    assert not [name for name in objects(store) if half.attempt in name]


def fails(self, path, name):
    raise InputError("the network is down")


def test_an_upload_that_fails_leaves_nothing(store, stage, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "upload", fails)
        with pytest.raises(InputError, match="network"):
            store.get(stage, Compute())
    assert store.find("thing", stage.key) is None
    assert objects(store, "") == {}
    assert store.get(stage, Compute())[1] is False


def start(where, log, seconds, cache):
    environment = {**os.environ, "WSSS_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", GETTER, where, str(log), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_of_two_machines_one_computes(bucket, tmp_path):
    log = tmp_path / "log"
    processes = [start(bucket, log, 3, tmp_path / f"machine-{k}") for k in range(2)]
    outputs = sorted(p.communicate(timeout=HANG)[0].split() for p in processes)
    assert [cached for cached, _ in outputs] == ["False", "True"]
    assert outputs[0][1] == outputs[1][1]
    assert len(log.read_text().split()) == 1


def test_after_a_kill_the_next_process_takes_over(bucket, tmp_path):
    log = tmp_path / "log"
    holder = start(bucket, log, HANG, tmp_path / "machine")
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "it begins")
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate(timeout=HANG)
    assert len(objects(open_store(bucket))) == 1
    cached, by = start(bucket, log, 0, tmp_path / "machine").communicate(timeout=HANG)[0].split()
    assert (cached, int(by)) == ("False", int(log.read_text().split()[1]))
    assert len(objects(open_store(bucket))) == 2


def test_a_process_that_lost_its_lease_publishes_nothing(store, bucket, stage, monkeypatch):
    """Another process took over and ended first; by then the uploads of the slow one are gone."""
    monkeypatch.setattr(lease, "lock", lambda *words: contextlib.nullcontext())

    def compute(folder):
        (folder / "a.bin").write_bytes(b"of the first")
        (folder.path / "a.bin").unlink()  # as if another node had written it
        open_store(bucket).get(stage, Compute())
        return Compute()(folder)

    artifact, _ = store.get(stage, compute)
    assert artifact.file("a.bin").read() == b"content of a"
    assert artifact.file("deep/b.bin").read() == b"content of b"
    assert len(objects(store)) == 3
    assert open_store(bucket).find("thing", stage.key).manifest == artifact.manifest


def test_taking_over_leaves_the_files_of_a_process_that_still_runs(
    store, bucket, stage, monkeypatch
):
    """The process that ends first publishes the whole artifact."""
    monkeypatch.setattr(lease, "lock", lambda *words: contextlib.nullcontext())

    def slow(folder):
        Compute()(folder)
        (folder.path / "a.bin").unlink()  # only its object is left
        open_store(bucket).storage.new_attempt(stage.name, stage.key)
        return {"n": 2}

    artifact, _ = store.get(stage, slow)
    assert sorted(artifact.manifest["files"]) == ["a.bin", "deep/b.bin"]
    assert store.get(stage, Compute())[1]


def test_an_abandoned_attempt_leaves_no_copies_on_this_machine(store, stage):
    abandoned = store.storage.new_attempt(stage.name, stage.key)
    (abandoned / "a.bin").write_bytes(b"half")
    folder = store.get(stage, Compute())[0].folder
    assert list(folder.path.parent.iterdir()) == [folder.path]
    assert not [name for name in objects(store) if name.startswith(abandoned.attempt)]
    assert (folder / "a.bin").read() == b"content of a"


def test_a_damaged_object_is_quarantined_and_computed_again(store, bucket, stage, elsewhere):
    store.get(stage, Compute())
    overwrite(store, "/a.bin~", b"another of a")
    elsewhere()
    other = open_store(bucket)
    artifact = other.open("thing", stage.key)
    with pytest.raises(InputError, match=r"a\.bin.* does not match its SHA-256; .* quarantine"):
        artifact.file("a.bin").local()
    assert not (artifact.folder.path / "a.bin").exists()
    assert [fault.partition(": ")[2] for fault in other.faults()] == [
        "a.bin does not match its SHA-256"
    ]
    artifact, cached = other.get(stage, Compute())
    assert not cached
    assert artifact.file("a.bin").read() == b"content of a"


DAMAGE = {
    "a shorter object": (lambda s: overwrite(s, "/a.bin~", b"x"), "a.bin has 1 bytes, not 12"),
    "a missing object": (lambda s: remove(s, "/b.bin~"), "deep/b.bin is missing"),
    "no JSON": (lambda s: overwrite(s, MANIFEST, b"{"), "manifest is not JSON"),
    "another JSON": (lambda s: overwrite(s, MANIFEST, b"{}"), "manifest"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_incomplete_artifact_is_computed_again_at_once(store, bucket, stage, name):
    damage, message = DAMAGE[name]
    store.get(stage, Compute())
    damage(store)
    other = open_store(bucket)
    artifact, cached = other.get(stage, Compute())
    assert not cached
    assert artifact.file("a.bin").read() == b"content of a"
    (fault,) = other.faults()
    assert message in fault


def test_a_damaged_file_in_the_cache_is_fetched_again(store, bucket, stage):
    store.get(stage, Compute())[0].file("a.bin").local().write_bytes(b"damaged in a")
    artifact = open_store(bucket).open("thing", stage.key)
    assert artifact.file("a.bin").read() == b"content of a"
    assert store.faults() == []


def test_verify_fetches_everything(store, stage):
    store.get(stage, Compute())
    assert list(store.artifacts()) == [("thing", stage.key)]
    assert len(store.verify("thing", stage.key)) == 8
    overwrite(store, "/b.bin~", b"another of b")
    assert store.verify("thing", stage.key) == ""
    assert list(store.artifacts()) == []


def test_an_error_of_the_network_is_not_taken_for_damage(store, stage, monkeypatch):
    store.get(stage, Compute())
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setattr(object_bucket, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"s3://.* cannot be used: NETWORK_CONNECTION"):
        store.find("thing", stage.key)
    with pytest.raises(StorageError, match="cannot be used"):
        store.storage.version("runs/a/run.json")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert store.find("thing", stage.key)
    assert store.faults() == []


def test_an_unreadable_manifest_is_not_called_missing(store, stage, elsewhere, monkeypatch):
    """Without its manifest an attempt has all objects, also those that do not count."""
    file = store.get(stage, Compute())[0].file("a.bin")
    file.folder.bucket.write(f"{file.folder.attempt}/a.bin~{'0' * 64}", b"of a task that ran twice")
    elsewhere()

    def fail(bucket, name):
        raise StorageError(f"{name} cannot be used")

    with monkeypatch.context() as patch:
        patch.setattr(object_bucket.Bucket, "read", fail)
        with pytest.raises(StorageError, match=r"manifest\.json cannot be used"):
            file.read()
    assert file.read() == b"content of a"
    assert store.faults() == []


def test_what_another_node_wrote_is_part_of_the_artifact(store, stage):
    """The file never was on the disk of the driver."""

    def compute(folder):
        (folder / "a.bin").write_bytes(b"content of a")
        (folder / "found/c.bin").write_bytes(b"content of c")
        for name in ("a.bin", "found/c.bin"):
            (folder.path / name).unlink()
        assert folder.names(".bin") == ["a.bin", "found/c.bin"]
        assert folder.subfolder("found").names() == ["c.bin"]
        assert (folder / "found/c.bin").read() == b"content of c"
        folder.discard("found")
        return {}

    artifact, _ = store.get(stage, compute)
    assert list(artifact.manifest["files"]) == ["a.bin"]
    assert artifact.file("a.bin").read() == b"content of a"
    assert len(objects(store)) == 2
