"""The promises of a storage to threads and processes that use it at the same time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import HANG

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
for _ in range(8):
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
    assert storage.read("count") == b"24"


def test_a_held_lock_is_seen_and_not_given_twice(storage):
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


def test_only_one_thread_is_inside_a_lock(storage, short_leases):
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
