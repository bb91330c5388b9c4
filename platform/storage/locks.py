"""Locks between processes of one machine, or of many machines that share an object store.

On one machine a lock is a file lock, which the operating system frees when the holder dies. S3 has
no locks, and pyarrow no write that fails if the object exists. For an object store the holder
therefore also writes an object, the lease, and rewrites it every BEAT seconds. A waiting process
takes the lease over when it has seen no change for EXPIRY seconds of its own clock. Two processes
that take a free lease in the same instant may both believe that they hold it, if a write takes
longer than SETTLE. Both then compute the same artifact, and the first manifest counts; for a sweep,
whose trials share one file, the wait is SETTLE_ALONE.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from . import filesystem

BEAT, EXPIRY = 10.0, 45.0
SETTLE, SETTLE_ALONE = 0.2, 5.0
"""Seconds after which a process reads a lease again that it has just taken; SETTLE_ALONE applies
where the process does not wait for the lock."""
POLL = 1.0


@contextlib.contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock `path` during a block.

    Args:
        path: file of the lock.
        wait: whether to wait while another process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not filesystem.object_of(path):
            yield
            return
        with _lease(path, wait):
            yield


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock; in an object store, as far as clocks agree."""
    if filesystem.object_of(path):
        return filesystem.age(path) < EXPIRY
    if not path.is_file():  # opening a pipe would never end
        return False
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _lease(path: Path, wait: bool) -> Iterator[None]:
    owner, stop = f"{_machine()} {os.getpid()} {uuid.uuid4().hex}", threading.Event()
    _take(path, owner, wait)
    thread = threading.Thread(target=_beat, args=(path, owner, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(InputError):  # a lease that stays expires
            if _content(path).startswith(owner):
                filesystem.remove(path)


def _take(path: Path, owner: str, wait: bool) -> None:
    seen, since = "", time.monotonic()
    while True:
        now = _content(path)
        if seen and now and now != seen and not wait:
            raise BlockingIOError(errno.EAGAIN, f"{filesystem.address(path)} is held")
        if now != seen:
            seen, since = now, time.monotonic()
        # A holder on this machine is dead, as this process holds its file lock.
        free = not now or now.startswith(_machine()) or time.monotonic() - since > EXPIRY
        if free:
            filesystem.write(path, owner.encode())
            time.sleep(SETTLE if wait else SETTLE_ALONE)
            if _content(path) == owner:
                return
        else:
            time.sleep(POLL)


def _beat(path: Path, owner: str, stop: threading.Event) -> None:
    count = 0
    while not stop.wait(BEAT):
        count += 1
        with contextlib.suppress(InputError):  # the next beat tries again
            if not _content(path).startswith(owner):
                return  # this machine slept, and another machine took over
            filesystem.write(path, f"{owner} {count}".encode())


def _content(path: Path) -> str:
    try:
        return filesystem.read(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _machine() -> str:
    """Return a name for the processes that share this machine's cache and file locks.

    A copy of this machine has another name.
    """
    path = filesystem.cache() / "machine"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        name = stream.read()
        if not name:
            name = uuid.uuid4().hex
            stream.write(name)
    return f"{name}-{platform.node()}-{_boot()}"


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
