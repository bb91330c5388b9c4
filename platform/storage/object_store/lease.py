"""Locks between machines that share an object store.

The holder of a lock keeps an object, the lease, and replaces it every BEAT seconds. A lease is
created only where none exists, and replaced only if it is still the version that was read, so that
of several processes the object store lets one succeed. A waiting process replaces a lease that it
has seen unchanged for EXPIRY seconds of its own clock.

The processes of one machine also hold a file lock. Whoever has it knows that another holder of the
lease on this machine is dead, and takes the lease over at once.
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

from ...errors import InputError
from .. import filesystem
from .bucket import Bucket
from .folder import cached

BEAT, EXPIRY = 10.0, 45.0
POLL = 1.0


@contextlib.contextmanager
def lock(bucket: Bucket, name: str, wait: bool) -> Iterator[None]:
    """Hold the lock `name` of a store during a block.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
    """
    with filesystem.lock(cached(bucket, name), wait):
        lease = Lease(bucket, name)
        lease.take(wait)
        thread = threading.Thread(target=lease.keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            lease.ended.set()
            thread.join()
            with contextlib.suppress(InputError):  # a lease that stays expires
                lease.release()


def is_locked(bucket: Bucket, name: str) -> bool:
    """Return whether a process holds the lock `name`, as far as the machines' clocks agree."""
    written = bucket.info(name).mtime
    return written is not None and time.time() - written.timestamp() < EXPIRY


class Lease:
    """The lease object of one holder.

    Args:
        bucket: objects of the store.
        name: name of the object.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.bucket, self.name = bucket, name
        self.owner = f"{_machine()} {os.getpid()} {uuid.uuid4().hex}"
        self.version, self.beats = "", 0
        self.ended = threading.Event()

    def take(self, wait: bool) -> None:
        """Create the lease, or replace the lease of a dead holder.

        Raises:
            BlockingIOError: another process holds the lease, and `wait` is False.
        """
        seen, since = "", time.monotonic()
        while not (version := self.bucket.create(self.name, self._content())):
            content, current = self._read()
            if not current:  # the holder removed the lease just now
                continue
            if seen and current != seen and not wait:
                raise BlockingIOError(errno.EAGAIN, f"{self.bucket.address(self.name)} is held")
            if current != seen:
                seen, since = current, time.monotonic()
            is_dead = content.startswith(_machine()) or time.monotonic() - since > EXPIRY
            if is_dead and (version := self.bucket.replace(self.name, self._content(), current)):
                break
            if not is_dead:
                time.sleep(POLL)
        self.version = version

    def keep(self) -> None:
        """Replace the lease every BEAT seconds until `ended` is set or another process has it."""
        while not self.ended.wait(BEAT):
            with contextlib.suppress(InputError):  # the next beat tries again
                if not self._beat():
                    return  # this machine slept, and another machine took over

    def release(self) -> None:
        """Remove the lease if this holder still has it.

        The beat before shows that it has, and no process replaces a lease that changed just now.
        """
        if self._beat():
            self.bucket.remove(self.name)

    def _beat(self) -> bool:
        """Replace the lease, and return whether this holder still has it."""
        self.beats += 1
        version = self.bucket.replace(self.name, self._content(), self.version)
        if not version:  # an earlier beat may have succeeded although its answer was lost
            content, current = self._read()
            if not content.startswith(self.owner):
                return False
            version = self.bucket.replace(self.name, self._content(), current)
        self.version = version
        return bool(version)

    def _content(self) -> bytes:
        return f"{self.owner} {self.beats}".encode()

    def _read(self) -> tuple[str, str]:
        """Return content and version of the lease, each "" where there is none."""
        try:
            content, version = self.bucket.read_with_version(self.name)
        except FileNotFoundError:
            return "", ""
        return content.decode(errors="replace"), version


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
