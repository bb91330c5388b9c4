"""Locks that processes of one machine, and with an object store of many, hold by turns.

On one machine it is a lock of the system, which frees it when the holder dies. S3 has no such
thing, and pyarrow no write that fails where an object is there already; so beside it the holder
leaves an object, a lease, and writes it anew every BEAT seconds. Who waits takes over where it saw
no change for EXPIRY seconds of its own clock. Two that take a free lease in the same instant may
both think that they hold it, where a write takes longer than SETTLE. Of an artifact both compute
then, and the first manifest counts; of a sweep, whose trials one file has, SETTLE is longer.
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
"""Seconds after which a lease that was just taken is looked at again; the second where a lock is
not waited for."""
POLL = 1.0


@contextlib.contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds the lock `path`.

    Raises:
        BlockingIOError: another holds it, and this one should not wait.
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
    """Whether somebody holds the lock; of an object store, as far as clocks agree."""
    if filesystem.object_of(path):
        return filesystem.age(path) < EXPIRY
    if not path.is_file():  # to open a pipe would never end
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
        with contextlib.suppress(InputError):  # it expires
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
        # One of this machine is dead: its lock of the system is ours.
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
        with contextlib.suppress(InputError):  # tried again
            if not _content(path).startswith(owner):
                return  # this machine slept, and another took over
            filesystem.write(path, f"{owner} {count}".encode())


def _content(path: Path) -> str:
    try:
        return filesystem.read(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _machine() -> str:
    """A name for all that share this machine's cache, and so its locks; not for a machine that was
    copied from it."""
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
