"""The promises of a storage, which a folder on disk and a bucket keep alike."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import HANG
from wsss.platform.errors import InputError
from wsss.platform.storage.json_files import read_json, read_record, write_json
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.object_store.storage import ObjectStorage

PROCESSES = """
import sys
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.object_store.storage import ObjectStorage

where, number = sys.argv[1:]
storage = (ObjectStorage if "://" in where else LocalStorage)(where)
print("ready", flush=True)
sys.stdin.readline()
"""
CREATE = 'print(bool(storage.create("race", number.encode())), flush=True)\n'
COUNT = """
for _ in range(20):
    while True:
        data, version = storage.read_with_version("count")
        if storage.replace("count", str(int(data) + 1).encode(), version):
            break
"""
HOLD = """
with storage.lock("locks/x"):
    print("holds", flush=True)
    sys.stdin.readline()
print("gone", flush=True)
"""


@pytest.fixture(params=["disk", "bucket"])
def storage(request, tmp_path):
    if request.param == "disk":
        return LocalStorage(tmp_path / "root")
    return ObjectStorage(request.getfixturevalue("bucket"))


def start(storage, script, count=1, machine=None):
    """Start processes that wait for a line of input before they run a script on a storage."""
    environment = {**os.environ, **({"WSSS_CACHE": str(machine)} if machine else {})}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESSES + script, storage.address(), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    return processes


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def ended(process):
    """Return what a process still prints until it ends without an error."""
    output = process.communicate(timeout=HANG)[0]
    assert process.returncode == 0
    return output


def test_a_file_is_written_read_and_removed(storage):
    assert not storage.exists("runs/a/run.json")
    storage.write("runs/a/run.json", b"one")
    storage.write("runs/a/run.json", b"two")
    assert storage.read("runs/a/run.json") == b"two"
    assert storage.exists("runs/a/run.json")
    assert storage.exists("runs")
    storage.remove("runs/a/run.json")
    storage.remove("runs/a/run.json")
    assert not storage.exists("runs/a/run.json")


def test_an_empty_file_is_a_file(storage):
    storage.write("a", b"")
    assert storage.read("a") == b""
    assert storage.exists("a")
    assert storage.version("a")


def test_what_is_missing_is_empty_or_raises(storage):
    for read in (storage.read, storage.read_with_version):
        with pytest.raises(FileNotFoundError):
            read("runs/none")
    assert storage.names("runs") == []
    assert storage.versions("runs", ["run.json"]) == {}
    assert storage.version("runs/none") == ""
    assert storage.modified("runs/none") == 0.0
    assert not storage.is_locked("locks/none")
    storage.remove("none")
    storage.remove_tree("none")
    with pytest.raises(InputError, match=r"there is no .*runs/none"):
        read_record(storage.location("runs", "none"), dict[str, int])


HOSTILE = ("../x", "a/../../x", "/x", "a//b", "a/", "./a", "a/.", "a\0b")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_storage(storage, name):
    calls = (
        storage.read,
        storage.remove,
        storage.remove_tree,
        storage.exists,
        storage.names,
        storage.modified,
        storage.version,
        storage.local_copy,
        lambda n: storage.write(n, b""),
        lambda n: storage.create(n, b""),
        lambda n: storage.replace(n, b"", "v"),
        lambda n: storage.append(n, b""),
    )
    for call in calls:
        with pytest.raises(InputError, match="is not a name inside a store"):
            call(name)


@pytest.mark.parametrize("name", ["a b", "ä", "a~b", "a%2Fb", "a?b=c", "a#b", "a+b", "a'b"])
def test_odd_names_are_names(storage, name):
    storage.write(f"runs/{name}", b"x")
    assert storage.read(f"runs/{name}") == b"x"
    assert storage.names("runs") == [name]
    assert storage.create(f"runs/{name}", b"y") == ""
    assert storage.replace(f"runs/{name}", b"y", storage.version(f"runs/{name}"))
    assert storage.read(f"runs/{name}") == b"y"


def test_names_are_listed_in_order_without_hidden_ones(storage):
    for name in ("b.json", "a.json", "B.json", "10.json", "9.json", ".hidden", "c.txt", "d/e.json"):
        storage.write(f"data/{name}", b"")
    assert storage.names("data") == [
        "10.json",
        "9.json",
        "B.json",
        "a.json",
        "b.json",
        "c.txt",
        "d",
    ]
    assert storage.names("data", ".json") == ["10.json", "9.json", "B.json", "a.json", "b.json"]
    assert storage.names("") == ["data"]


def test_a_tree_is_removed_and_its_neighbours_stay(storage):
    for name in ("runs/a/x", "runs/a/deep/y", "runs/ab", "runs/b/x"):
        storage.write(name, b"")
    storage.remove_tree("runs/a")
    assert storage.names("runs") == ["ab", "b"]


def test_appended_content_comes_last(storage):
    storage.append("sweeps/a/trials.jsonl", b"one\n")
    storage.append("sweeps/a/trials.jsonl", b"two\n")
    assert storage.read("sweeps/a/trials.jsonl") == b"one\ntwo\n"


def test_a_version_changes_with_the_content(storage):
    storage.write("a", b"one")
    first = storage.version("a")
    assert storage.version("a") == first
    assert storage.read_with_version("a") == (b"one", first)
    storage.write("a", b"two")
    assert storage.version("a") not in ("", first)
    assert abs(storage.modified("a") - time.time()) < 60


def test_versions_of_records_are_read_together(storage):
    for name in ("a/run.json", "b/run.json", "b/other", "b/deep/run.json", "run.json"):
        storage.write(f"runs/{name}", b"1")
    before = storage.versions("runs", ["run.json", "progress.json"])
    assert set(before) == {"runs/a/run.json", "runs/b/run.json"}
    storage.write("runs/b/run.json", b"22")
    after = storage.versions("runs", ["run.json", "progress.json"])
    assert [name for name in before if before[name] != after[name]] == ["runs/b/run.json"]


def test_a_file_is_created_only_where_there_is_none(storage):
    version = storage.create("a/b", b"one")
    assert version == storage.version("a/b") != ""
    assert storage.create("a/b", b"two") == ""
    assert storage.read("a/b") == b"one"


def test_only_the_version_that_was_read_is_replaced(storage):
    assert storage.replace("a", b"x", "no version") == ""
    assert storage.replace("a", b"x", "") == ""
    assert not storage.exists("a")
    first = storage.create("a", b"one")
    second = storage.replace("a", b"two", first)
    assert second == storage.version("a") not in ("", first)
    assert storage.replace("a", b"three", first) == ""
    assert storage.read("a") == b"two"
    assert storage.names("") == ["a"]


def test_of_many_threads_one_creates(storage):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda k: storage.create("race", b"%d" % k), range(8)))
    (winner,) = [number for number, version in enumerate(versions) if version]
    assert storage.read("race") == b"%d" % winner
    assert storage.version("race") == versions[winner]


def test_of_many_processes_one_creates(storage):
    processes = start(storage, CREATE, 4)
    for process in processes:
        go(process)
    winners = [k for k, process in enumerate(processes) if ended(process) == "True\n"]
    assert [str(number).encode() for number in winners] == [storage.read("race")]


def test_no_replacement_is_lost(storage):
    storage.write("count", b"0")
    processes = start(storage, COUNT, 3)
    for process in processes:
        go(process)
    for process in processes:
        ended(process)
    assert storage.read("count") == b"60"


def test_a_held_lock_is_seen_and_not_given_twice(storage, quick):
    (holder,) = start(storage, HOLD)
    assert not storage.is_locked("locks/x")
    go(holder)
    assert holder.stdout.readline() == "holds\n"
    assert storage.is_locked("locks/x")
    with pytest.raises(BlockingIOError), storage.lock("locks/x", wait=False):
        pass
    go(holder)
    assert ended(holder) == "gone\n"
    with storage.lock("locks/x", wait=False):
        assert storage.is_locked("locks/x")
    assert not storage.is_locked("locks/x")


def test_locks_of_different_names_are_independent(storage):
    with storage.lock("locks/x"), storage.lock("locks/y", wait=False):
        assert storage.is_locked("locks/x")
        assert storage.is_locked("locks/y")


def test_only_one_thread_is_inside_a_lock(storage, quick):
    inside, most = 0, []

    def enter(number):
        nonlocal inside
        with storage.lock("locks/x"):
            inside += 1
            most.append(inside)
            time.sleep(0.05)
            inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert most == [1, 1, 1, 1]


def test_a_waiting_process_takes_over_from_a_killed_one(storage):
    (holder,) = start(storage, HOLD)
    go(holder)
    assert holder.stdout.readline() == "holds\n"
    taken = threading.Event()

    def take():
        with storage.lock("locks/x"):
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not taken.wait(0.5)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate(timeout=HANG)
    thread.join(HANG)
    assert taken.is_set()


def test_an_error_inside_a_lock_frees_it(storage):
    with contextlib.suppress(RuntimeError), storage.lock("locks/x"):
        raise RuntimeError
    with storage.lock("locks/x", wait=False):
        pass


def test_a_storage_is_pickled_by_its_root(storage):
    storage.write("a", b"x")
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage
    assert hash(again) == hash(storage)
    location = pickle.loads(pickle.dumps(storage.location("a")))
    assert location == storage.location("a")
    assert location.read() == b"x"
    folder = storage.new_attempt("maps", "ab" * 32)
    (folder / "a.bin").write_bytes(b"content")
    assert pickle.loads(pickle.dumps(folder / "a.bin")).read() == b"content"


def test_locations_name_files_beside_and_inside_each_other(storage):
    home = storage.location("training", "abc")
    assert (home / "epoch" / "state.pt").name == "training/abc/epoch/state.pt"
    assert home.with_suffix(".jsonl").with_suffix(".fault").name == "training/abc.fault"
    assert home.parent == storage.location("training")
    assert home.last_name == "abc"
    assert home.parent.parent / "training" / "abc" == home
    assert (home.parent / "a.b.json").with_suffix(".lock").name == "training/a.b.lock"
    assert str(home) == f"{storage.address()}/training/abc"


def test_values_are_kept_as_json(storage):
    file = storage.location("runs", "a", "run.json")
    write_json(file, {"b": (1, None)})
    assert read_json(file) == {"b": [1, None]}
    file.write(b"{")
    with pytest.raises(InputError, match=r"runs/a/run.json cannot be read"):
        read_json(file)


def test_a_local_copy_reaches_the_storage(storage):
    copy = storage.local_copy("training/a.jsonl")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(b"line\n")
    storage.upload_copy("training/a.jsonl")
    storage.drop_copy("training/a.jsonl")
    assert storage.read("training/a.jsonl") == b"line\n"
    storage.remove("training/a.jsonl")
    assert not copy.exists()


def test_a_storage_that_does_not_exist_yet_can_be_written(storage):
    storage.check_writable("artifacts", "runs/a")
    assert storage.names("") == []
    assert storage.free_bytes() > 0


def test_a_folder_is_moved_to_quarantine_with_its_fault(storage):
    storage.write("artifacts/maps/abc/manifest.json", b"{}")
    storage.write("artifacts/maps/abc/deep/a.bin", b"x")
    moved = storage.quarantine("artifacts/maps/abc", "it is damaged")
    assert moved.name.startswith("quarantine/maps-abc-")
    assert (moved / "fault.txt").read() == b"it is damaged\n"
    assert (moved / "deep" / "a.bin").read() == b"x"
    assert not storage.exists("artifacts/maps/abc")


def test_files_of_an_attempt_are_written_read_and_discarded(storage):
    folder = storage.new_attempt("maps", "ab" * 32)
    (folder / "a.bin").write(lambda stream: stream.write(b"content of a"))
    maps = folder.subfolder("deep")
    (maps / "b.bin").write_bytes(b"content of b")
    assert folder.names() == ["a.bin", "deep/b.bin"]
    assert maps.names(".bin") == ["b.bin"]
    assert (folder / "deep/b.bin").read() == (maps / "b.bin").read() == b"content of b"
    assert (maps / "b.bin").size() == 12
    assert (folder / "a.bin").read_head(lambda file: open_file(file)) == b"content"
    assert folder.finished()["files"]["a.bin"]["size"] == 12
    with pytest.raises(FileNotFoundError):
        (folder / "none").read()
    folder.discard("deep")
    assert folder.names() == ["a.bin"]
    folder.discard()
    assert folder.names() == []


def open_file(file):
    """Return the first seven bytes of a file that is given as a path or as a stream."""
    if hasattr(file, "read"):
        return file.read(7)
    with open(file, "rb") as stream:
        return stream.read(7)


def test_a_file_that_could_not_be_written_is_not_there(storage):
    folder = storage.new_attempt("maps", "ab" * 32)

    def half(stream):
        stream.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        (folder / "a.bin").write(half)
    assert folder.names() == []
    assert folder.finished()["files"] == {}
