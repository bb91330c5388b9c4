"""The interface of a store's storage, a local folder or an object store, and names inside it."""

from __future__ import annotations

import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ..errors import InputError
from .artifact_files import ArtifactFolder


class Storage(ABC):
    """Files with names such as `runs/a/run.json`, relative to the root of a store.

    The empty name stands for the root. Every method raises InputError for a name that leads out of
    the store, and StorageError where the object store or the disk fails. A storage can be pickled,
    and two storages of one root are equal.
    """

    pace: ClassVar[int]
    """Factor on the seconds between two requests of a caller that asks again and again."""

    @property
    @abstractmethod
    def local_folder(self) -> Path:
        """The folder of this machine for files of the store that people or other programs read."""

    @abstractmethod
    def address(self, name: str = "") -> str:
        """Return a name as a person writes it, a path on disk or an address."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: there is something other than a regular file.
        """

    @abstractmethod
    def read_with_version(self, name: str) -> tuple[bytes, str]:
        """Return the content of a file and its version; errors are as for `read`."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file so that a reader sees the old content or the new, never half of it."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> str:
        """Write a file if none exists, and return its version, or "" where one exists.

        Of several processes that create a file at the same time, one succeeds.
        """

    @abstractmethod
    def replace(self, name: str, data: bytes, version: str) -> str:
        """Replace a file that has a version, and return its new version.

        Of several processes that replace a version at the same time, one succeeds, if no process
        uses `write` for the file.

        Returns:
            The new version, or "" where the file is missing or has another version.
        """

    @abstractmethod
    def append(self, name: str, data: bytes) -> None:
        """Add content to the end of a file, which need not exist.

        Only one process at a time may append to a file.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""

    @abstractmethod
    def remove_tree(self, name: str) -> None:
        """Remove a folder and all that is in it; what cannot be removed stays."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a file, or a folder with a file in it, exists."""

    @abstractmethod
    def names(self, name: str, suffix: str = "") -> list[str]:
        """Return the names in a folder that end in `suffix` and have no leading dot, in order.

        A folder that does not exist has no names.
        """

    @abstractmethod
    def modified(self, name: str) -> float:
        """Return the time when a file was written, in seconds of the epoch; 0 without a file."""

    @abstractmethod
    def version(self, name: str) -> str:
        """Return a text that changes whenever a file changes; empty where no file exists."""

    @abstractmethod
    def versions(self, name: str, file_names: Collection[str]) -> dict[str, str]:
        """Return the versions of files in the subfolders of a folder, by full name.

        Args:
            name: the folder.
            file_names: names of the files that count, in each subfolder.
        """

    @abstractmethod
    def lock(self, name: str, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the lock `name` during a block; it becomes free soon after its holder dies.

        Args:
            name: name of the lock.
            wait: whether to wait while another process holds the lock.

        Raises:
            BlockingIOError: another process holds the lock, and `wait` is False.
        """

    @abstractmethod
    def is_locked(self, name: str) -> bool:
        """Return whether a process holds the lock `name`."""

    @abstractmethod
    def check_writable(self, *names: str) -> None:
        """Check that files can be written into folders, which need not exist yet.

        Raises:
            InputError: files cannot be written, or the object store cannot compare and set.
        """

    @abstractmethod
    def local_copy(self, name: str) -> Path:
        """Return the path on this machine of a file that a process writes a line at a time.

        On disk it is the file itself. `upload_copy` brings it into an object store.
        """

    @abstractmethod
    def upload_copy(self, name: str) -> None:
        """Upload the local copy of a file, where it is not the file itself."""

    @abstractmethod
    def drop_copy(self, name: str) -> None:
        """Remove the local copy of a file, where it is not the file itself."""

    @abstractmethod
    def for_ray(self, name: str) -> dict[str, Any]:
        """Return a folder as keyword arguments of Ray's RunConfig."""

    @abstractmethod
    def new_attempt(self, stage: str, key: str) -> ArtifactFolder:
        """Return an empty folder to compute an artifact in.

        The caller holds the artifact's lock. What dead processes left of other attempts is removed
        now, or when an attempt is published.
        """

    @abstractmethod
    def publish(self, attempt: ArtifactFolder, manifest: Mapping[str, Any]) -> bool:
        """Make a finished attempt the artifact, if no other attempt is the artifact already.

        Args:
            attempt: the attempt.
            manifest: the manifest, which names stage and key.

        Returns:
            Whether the attempt is the artifact now.
        """

    @abstractmethod
    def artifact_folder(self, manifest: Mapping[str, Any]) -> ArtifactFolder:
        """Return the folder with the files of an artifact."""

    @abstractmethod
    def fault(self, manifest: Mapping[str, Any], again: bool = False) -> str:
        """Return what differs between an artifact's files and its manifest, or "".

        Args:
            manifest: the manifest of the artifact.
            again: whether files that were intact before are checked again.
        """

    @abstractmethod
    def quarantine(self, name: str, fault: str) -> Location:
        """Move a folder to quarantine with a note on its fault, and return its new location."""

    def location(self, *names: str) -> Location:
        """Return the location whose name consists of the given names."""
        return Location(self, "/".join(names))

    def free_bytes(self) -> int:
        """Return the free space, in bytes, of the disk that `local_folder` is on."""
        folder = self.local_folder
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def free_space(self) -> str:
        """Return the free space in words, for people."""
        return f"{self.free_bytes() / 1e9:.0f} GB free"


@dataclass(frozen=True)
class Location:
    """A file or folder of a storage, which need not exist."""

    storage: Storage
    name: str

    def __str__(self) -> str:
        return self.storage.address(self.name)

    def __truediv__(self, name: str) -> Location:
        """Return the location of a name inside this folder."""
        return Location(self.storage, f"{self.name}/{name}" if self.name else name)

    @property
    def parent(self) -> Location:
        """The folder of this location."""
        return Location(self.storage, self.name.rpartition("/")[0])

    @property
    def last_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    def with_suffix(self, suffix: str) -> Location:
        """Return the location beside this location with a suffix in place of its own."""
        return Location(self.storage, str(PurePosixPath(self.name).with_suffix(suffix)))

    def read(self) -> bytes:
        """Return the content of the file, see `Storage.read`."""
        return self.storage.read(self.name)

    def write(self, data: bytes) -> None:
        """Write the file, see `Storage.write`."""
        self.storage.write(self.name, data)

    def append(self, data: bytes) -> None:
        """Add content to the end of the file, see `Storage.append`."""
        self.storage.append(self.name, data)

    def remove(self) -> None:
        """Remove the file, if it exists."""
        self.storage.remove(self.name)

    def remove_tree(self) -> None:
        """Remove the folder and all that is in it; what cannot be removed stays."""
        self.storage.remove_tree(self.name)

    def exists(self) -> bool:
        """Return whether there is a file, or a folder with a file in it."""
        return self.storage.exists(self.name)

    def names(self, suffix: str = "") -> list[str]:
        """Return the names in the folder, see `Storage.names`."""
        return self.storage.names(self.name, suffix)

    def modified(self) -> float:
        """Return the time when the file was written, see `Storage.modified`."""
        return self.storage.modified(self.name)

    def version(self) -> str:
        """Return a text that changes whenever the file changes, see `Storage.version`."""
        return self.storage.version(self.name)

    def lock(self, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the lock of this name during a block, see `Storage.lock`."""
        return self.storage.lock(self.name, wait)

    def is_locked(self) -> bool:
        """Return whether a process holds the lock of this name."""
        return self.storage.is_locked(self.name)

    def for_ray(self) -> dict[str, Any]:
        """Return the folder as keyword arguments of Ray's RunConfig."""
        return self.storage.for_ray(self.name)


def checked_name(name: str) -> str:
    """Return a name after checking that it leads to a place inside the store.

    Raises:
        InputError: the name is absolute, or has a part that is empty, `.` or `..`, or a null
            character.
    """
    parts = name.split("/") if name else []
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{name!r} is not a name inside a store; name a file or folder of it")
    return name


def artifact_name(manifest: Mapping[str, Any]) -> str:
    """Return the name of the folder of the artifact that a manifest belongs to."""
    return f"artifacts/{manifest['stage']}/{manifest['key']}"


def quarantine_name(name: str) -> str:
    """Return a new name in quarantine for a folder, with the ends of the folder's name in it."""
    parent, _, last = name.rpartition("/")
    return f"{parent.rpartition('/')[2]}-{last[:12]}-{uuid.uuid4().hex[:6]}"
