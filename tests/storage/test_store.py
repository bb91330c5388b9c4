"""Tests of a store: nothing half-written is seen, nothing damaged is served, nothing runs twice."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import HANG, wait_until
from wsss.platform.errors import InputError
from wsss.platform.serialization import digest
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.artifact_files import MANIFEST
from wsss.platform.storage.filesystem import remove, write_atomic
from wsss.platform.storage.store import Store

GETTER = """
import os, sys, time
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.store import Store

root, log, seconds = sys.argv[1:]

def compute(folder):
    with open(log, "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    (folder / "half.bin").write_bytes(b"half")
    time.sleep(float(seconds))
    (folder.path / "half.bin").rename(folder.path / "whole.bin")
    return {"by": os.getpid()}

artifact, cached = Store(root).get(Stage(name="slow", version=1, config={}), compute)
print(cached, artifact.about["by"])
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class Compute:
    """A computation that writes two files and counts its calls."""

    def __init__(self, error=None):
        self.calls, self.error = 0, error

    def __call__(self, folder):
        self.calls += 1
        assert folder.names() == []
        (folder / "a.bin").write_bytes(b"content of a")
        (folder / "deep/b.bin").write_bytes(b"content of b")
        if self.error:
            raise self.error
        return {"n": 2, "bad": float("nan")}


def leftovers(store):
    return [
        p for part in ("attempts", "artifacts") for p in (store.storage.root / part).rglob("*.bin")
    ]


def test_an_artifact_is_computed_once_and_then_read(store, stage):
    compute = Compute()
    artifact, cached = store.get(stage, compute)
    assert (cached, compute.calls) == (False, 1)
    again, cached = store.get(stage, compute)
    assert (cached, compute.calls) == (True, 1)
    assert again.manifest == artifact.manifest
    assert Store(store.storage.root).get(stage, compute)[1]
    assert artifact.key == stage.key
    assert artifact.about == {"n": 2, "bad": None}
    assert artifact.file("a.bin").read() == b"content of a"
    assert [file.name for file in artifact.files()] == ["a.bin", "deep/b.bin"]
    assert artifact.files(".txt") == []
    assert store.open("thing", stage.key).key == stage.key


def test_the_manifest_holds_configuration_inputs_files_and_versions(store, stage):
    manifest = store.get(stage, Compute())[0].manifest
    assert manifest["config"] == {"a": 1}
    assert manifest["inputs"] == {"x": "k"}
    assert set(manifest["files"]) == {"a.bin", "deep/b.bin"}
    assert manifest["files"]["a.bin"]["size"] == 12
    assert manifest["versions"]["torch"]


def test_a_missing_artifact_cannot_be_opened(store, stage):
    assert store.find("thing", stage.key) is None
    with pytest.raises(InputError, match="thing/"):
        store.open("thing", stage.key)


@pytest.mark.parametrize("name", ["..", "../data", "a/b", "", ".", "a\0", "a" * 300, ".hidden"])
def test_no_name_leads_out_of_the_store(store, name):
    with pytest.raises(InputError, match="is not a valid name of a stage or key"):
        store.find("thing", name)
    with pytest.raises(InputError, match="is not a valid name of a stage or key"):
        store.open(name, "key")


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_an_aborted_computation_leaves_nothing(store, stage, error):
    with pytest.raises(type(error)):
        store.get(stage, Compute(error))
    assert store.find("thing", stage.key) is None
    assert leftovers(store) == []
    assert store.get(stage, Compute())[1] is False


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_in_words_and_leaves_nothing(store, stage, number):
    with pytest.raises(InputError, match=r"disk of .* is full, and nothing of thing"):
        store.get(stage, Compute(OSError(number, "full")))
    with pytest.raises(InputError, match=r"disk of /tmp/x is full, and nothing of thing"):
        store.get(stage, Compute(OSError(number, "full", "/tmp/x")))
    assert leftovers(store) == []


def test_a_full_disk_in_a_task_is_reported_the_same_way(store, stage):
    """Ray wraps the OSError of a task in an error without errno, which stages unwrap."""
    from ray.exceptions import RayTaskError
    from wsss.platform.ray_runtime.worker_errors import unwrapped

    error = RayTaskError("f", "text", OSError(errno.ENOSPC, "full")).as_instanceof_cause()
    assert isinstance(error, OSError)

    def compute(folder):
        with unwrapped():
            raise error

    with pytest.raises(InputError, match="is full"):
        store.get(stage, compute)
    assert leftovers(store) == []


def flip(path):
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def replaced(path, make):
    path.unlink()
    make(path)


DAMAGE = {
    "a flipped byte": (lambda f: flip(f / "a.bin"), "a.bin does not match"),
    "in a subfolder": (lambda f: flip(f / "deep/b.bin"), "deep/b.bin does not match"),
    "a shorter file": (lambda f: (f / "a.bin").write_bytes(b"x"), "a.bin has 1 bytes, not 12"),
    "a missing file": (lambda f: (f / "a.bin").unlink(), "a.bin is missing"),
    "no JSON": (lambda f: (f / MANIFEST).write_text("{"), "manifest is not JSON"),
    "no bytes": (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"), "manifest"),
    "another JSON": (lambda f: (f / MANIFEST).write_text("{}"), "manifest"),
    "a JSON list": (lambda f: (f / MANIFEST).write_text("[]"), "manifest"),
    "nested JSON": (lambda f: (f / MANIFEST).write_text("[" * 100_000), "nested deeper"),
    "a folder as manifest": (lambda f: replaced(f / MANIFEST, Path.mkdir), "not a regular file"),
    "a pipe as manifest": (lambda f: replaced(f / MANIFEST, os.mkfifo), "not a regular file"),
    "a folder as file": (lambda f: replaced(f / "a.bin", Path.mkdir), "a.bin is missing"),
    "a pipe as file": (lambda f: replaced(f / "a.bin", os.mkfifo), "a.bin is missing"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "manifest"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_artifact_is_quarantined_and_computed_again(store, stage, name):
    damage, message = DAMAGE[name]
    folder = store.get(stage, Compute())[0].folder.path
    damage(folder)
    artifact, cached = store.get(stage, Compute())
    assert not cached
    assert artifact.file("a.bin").read() == b"content of a"
    (fault,) = store.faults()
    assert message in fault
    assert store.get(stage, Compute())[1]


def test_a_byte_flipped_behind_the_same_size_and_time_is_found(store, stage):
    """The change time, which no program can set, reveals the flip."""
    path = store.get(stage, Compute())[0].file("a.bin").local()
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find("thing", stage.key) is None


def test_intact_files_are_not_hashed_twice(store, stage, monkeypatch):
    store.get(stage, Compute())
    monkeypatch.setattr(
        "wsss.platform.storage.artifact_files.file_digest", lambda path: pytest.fail(str(path))
    )
    assert store.get(stage, Compute())[1]


def test_a_half_written_file_is_no_part_of_an_artifact(store, stage):
    def compute(folder):
        (folder.path / ".a.bin.1234abcd").write_bytes(b"half of")  # its writer was killed
        (folder / "a.bin").write_bytes(b"content of a")
        return {}

    artifact, _ = store.get(stage, compute)
    assert list(artifact.manifest["files"]) == ["a.bin"]
    assert not list(artifact.folder.path.rglob(".*"))


def test_a_copied_store_is_verified_again(store, stage, tmp_path):
    import shutil

    store.get(stage, Compute())
    shutil.copytree(store.storage.root, tmp_path / "copy")
    assert Store(tmp_path / "copy").get(stage, Compute())[1]


BASE = {"name": "n", "version": 1, "config": {"a": 1, "b": (1, 2)}, "inputs": {"x": "1"}}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "m"},
        {"version": 2},
        {"config": {"a": 2, "b": (1, 2)}},
        {"config": {"a": 1, "b": (2, 1)}},
        {"config": {"a": 1, "b": (1, 2), "c": None}},
        {"inputs": {"x": "2"}},
        {"inputs": {"y": "1"}},
        {"inputs": {}},
    ],
)
def test_all_that_a_stage_depends_on_changes_its_key(change):
    assert Stage(**{**BASE, **change}).key != Stage(**BASE).key


def test_the_title_and_the_order_of_options_do_not_change_a_key():
    turned = {"b": [1, 2], "a": 1}
    assert Stage(**{**BASE, "config": turned, "title": "other"}).key == Stage(**BASE).key


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_digest_is_canonical(value):
    assert digest(value) == digest(dict(reversed(list(value.items()))))
    assert digest(value) == digest(json.loads(json.dumps(value)))
    assert digest({"v": value}) != digest({"v": [value]})


def start(store, log, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", GETTER, str(store), str(log), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path):
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path} is written")


def test_of_two_processes_one_computes(store, tmp_path):
    log = tmp_path / "log"
    processes = [start(store, log, 0.5) for _ in range(2)]
    outputs = sorted(p.communicate(timeout=HANG)[0].split() for p in processes)
    assert [p.returncode for p in processes] == [0, 0]
    assert [cached for cached, _ in outputs] == ["False", "True"]
    assert outputs[0][1] == outputs[1][1]
    assert len(log.read_text().split()) == 1


def test_the_waiting_process_takes_over_from_a_killed_one(store, tmp_path):
    log = tmp_path / "log"
    holder = start(store, log, HANG)
    wait_for(log)
    waiting = start(store, log, 0)
    time.sleep(0.5)
    assert waiting.poll() is None
    assert len(leftovers(store)) == 1
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate(timeout=HANG)
    cached, by = waiting.communicate(timeout=HANG)[0].split()
    assert (cached, int(by)) == ("False", waiting.pid)
    assert log.read_text().split() == [str(holder.pid), str(waiting.pid)]
    assert [p.name for p in leftovers(store)] == ["whole.bin"]
    assert list((store.storage.root / "attempts").iterdir()) == []


def test_a_store_pickles_by_its_root(store):
    assert pickle.loads(pickle.dumps(store)).storage == store.storage


def test_a_store_on_disk_loads_no_client_of_an_object_store(store):
    code = (
        "import sys\n"
        "from wsss.platform.storage.artifact import Stage\n"
        "from wsss.platform.storage.store import open_store\n"
        "open_store(sys.argv[1]).get(Stage(name='a', version=1, config={}), lambda folder: {})\n"
        "print({'botocore', 'pyarrow'} & set(sys.modules))\n"
    )
    words = [sys.executable, "-c", code, str(store)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANG, check=True)
    assert done.stdout == "set()\n"


def test_a_store_that_does_not_exist_yet_has_free_bytes(store):
    assert not store.storage.root.exists()
    assert store.storage.free_bytes() > 0


def test_write_atomic_shows_a_whole_file_or_none(tmp_path):
    path = tmp_path / "x.bin"

    def half(stream):
        stream.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomic(path, half)
    assert list(tmp_path.iterdir()) == []
    write_atomic(path, lambda stream: stream.write(b"whole"))
    with pytest.raises(RuntimeError):
        write_atomic(path, half)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_the_root_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Store("here").storage.root == Path(tmp_path / "here")


@pytest.mark.parametrize("text", ["[]", "{}", "[" * 100_000, '{"a.bin": {}}'])
def test_a_damaged_record_of_verified_files_costs_no_artifact(store, stage, text):
    artifact, _ = store.get(stage, Compute())
    (path,) = (store.storage.root / "verified").iterdir()
    path.write_text(text)
    assert store.find(stage.name, stage.key) == artifact


def test_the_error_of_a_computation_is_kept_while_a_task_still_writes(store, stage, monkeypatch):
    rmtree = shutil.rmtree

    def hindered(path, ignore_errors):
        rmtree(path, ignore_errors=ignore_errors)
        path.mkdir()
        (path / "late.bin").write_bytes(b"of a task that goes on")

    monkeypatch.setattr(shutil, "rmtree", hindered)
    with pytest.raises(InputError, match="no mask"):
        store.get(stage, Compute(InputError("image 7 has no mask")))
    monkeypatch.undo()
    assert not store.get(stage, Compute())[1]
    assert store.location("attempts").names() == []


def test_a_link_is_removed_without_its_target(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    remove(tmp_path / "link")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
