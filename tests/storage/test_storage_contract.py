"""The promises of a storage, which a folder on disk and a bucket keep alike."""

from __future__ import annotations

import pickle
import re
import time

import pytest
from wsss.platform.errors import InputError, StorageError
from wsss.platform.storage.json_files import read_json, read_record, write_json
from wsss.platform.storage.object_store import bucket as object_bucket


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


def test_free_space_names_the_folder_of_this_machine_where_it_is_not_the_root(storage):
    space = storage.free_space()
    assert re.match(r"\d+ GB free", space)
    folder = str(storage.local_folder)
    assert space.endswith(f" in {folder}") == (folder != storage.address())


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


@pytest.fixture
def failing(storage, tmp_path, monkeypatch):
    """Return the storage, failing: a file is in the place of its folder, or no server answers."""
    if storage.address().startswith("s3:"):
        monkeypatch.setattr(object_bucket, "ATTEMPTS", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    else:
        (tmp_path / "root").write_bytes(b"")
    return storage


WRITES = {
    "write": lambda storage: storage.write("a/b", b"x"),
    "create": lambda storage: storage.create("a/b", b"x"),
    "append": lambda storage: storage.append("a/b", b"x"),
    "remove": lambda storage: storage.remove("a/b"),
    "lock": lambda storage: storage.lock("a/b").__enter__(),
    "quarantine": lambda storage: storage.quarantine("a/b", "it is damaged"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_failure_to_write_is_an_error_of_the_storage(failing, name):
    with pytest.raises(StorageError, match=r"cannot be (used|written): .") as caught:
        WRITES[name](failing)
    assert failing.address() in str(caught.value)


def test_an_error_inside_a_lock_passes_unchanged(storage):
    with pytest.raises(OSError, match="of the caller"), storage.lock("locks/x"):
        raise OSError("of the caller")
