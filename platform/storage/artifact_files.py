"""The files of artifacts, which stages write and read through handles that Ray tasks can carry.

An `ArtifactFolder` is the folder of one artifact, or of one attempt to compute it; `folder / NAME`
is an `ArtifactFile` in it. A handle works on every machine: what a task writes is part of the
artifact wherever the task runs, and a file is fetched and verified when a machine first reads it.
"""

from __future__ import annotations

import contextlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..serialization import from_json, parse_time, typed
from . import filesystem
from .filesystem import file_digest

MANIFEST = "manifest.json"
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
"""Pattern of the names of stages, keys and splits, each of which is part of a path."""
Files = Mapping[str, Mapping[str, Any]]
"""Size and SHA-256 of files by name, as in a manifest."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """The seconds that it took to compute an artifact, and the time when it was written."""

    seconds: float
    written: str

    def __post_init__(self) -> None:
        parse_time(self.written)


def computation_in(manifest: Any) -> Computation:
    """Return what a manifest says about the computation of its artifact.

    Raises:
        ValueError: `manifest` lacks these fields, or is not a manifest.
    """
    entries = typed(dict[str, Any], manifest)
    fields = {name: entries[name] for name in ("seconds", "written") if name in entries}
    computation: Computation = typed(Computation, fields)
    return computation


class ArtifactFolder(ABC):
    """The folder of an artifact, or of an attempt to compute it."""

    def __truediv__(self, name: str) -> ArtifactFile:
        """Return the file of a name, which need not exist."""
        return ArtifactFile(self, name)

    @property
    @abstractmethod
    def path(self) -> Path:
        """The folder of this machine for the artifact's files, some of which may be elsewhere."""

    @abstractmethod
    def subfolder(self, name: str) -> ArtifactFolder:
        """Return a folder inside this folder, which is created if it is missing."""

    @abstractmethod
    def local(self, name: str) -> Path:
        """Return the path of a file on this machine, fetching and verifying it if necessary.

        A path that the artifact has no file for is returned as it is.

        Raises:
            InputError: the file is damaged, cannot be fetched, or is not a regular file.
        """

    @abstractmethod
    def write(self, name: str, write: Callable[[Any], Any]) -> None:
        """Write a file that appears under its name only when it is complete.

        Each file is written by one task. Where a task runs twice, either result may count.

        Args:
            name: name of the file; its folder may be missing.
            write: writes the content into the binary stream that it is given.
        """

    @abstractmethod
    def read_head(self, name: str, read: Callable[[Any], Any]) -> Any:
        """Return the result of `read` on a file, without fetching all of it or verifying it.

        Args:
            name: name of the file.
            read: reads a few bytes; is given a path of this machine or a binary stream.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size in bytes of a file, which need not be on this machine."""

    @abstractmethod
    def names(self, suffix: str = "") -> list[str]:
        """Return the names of the files with a suffix, from whichever machine, in order."""

    @abstractmethod
    def discard(self, name: str = "") -> None:
        """Remove a file or a subfolder, or without a name the whole folder."""

    @abstractmethod
    def finished(self) -> dict[str, Any]:
        """Return the entries of the manifest on the files of a finished attempt.

        The entry `files` holds size and SHA-256 of each file by name.
        """

    @abstractmethod
    def check_content(self, files: Files) -> None:
        """Read the content of those files that `Storage.fault` does not read.

        Raises:
            InputError: a file is damaged.
        """


@dataclass(frozen=True)
class ArtifactFile:
    """A file of an artifact by its name, which is relative to the folder of the artifact."""

    folder: ArtifactFolder
    name: str

    def __str__(self) -> str:
        return str(self.folder.path / self.name)

    @property
    def stem(self) -> str:
        """The last part of the name without its suffix."""
        return PurePosixPath(self.name).stem

    def with_suffix(self, suffix: str) -> ArtifactFile:
        """Return the file beside this file that has another suffix."""
        return ArtifactFile(self.folder, str(PurePosixPath(self.name).with_suffix(suffix)))

    def local(self) -> Path:
        """Return the path of the file on this machine, see `ArtifactFolder.local`."""
        return self.folder.local(self.name)

    def read(self) -> bytes:
        """Return the verified content of the file.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the file is damaged, cannot be fetched, or is not a regular file.
        """
        return self.local().read_bytes()

    def read_head(self, read: Callable[[Any], Any]) -> Any:
        """Return the result of `read` on the file, see `ArtifactFolder.read_head`."""
        return self.folder.read_head(self.name, read)

    def write(self, write: Callable[[Any], Any]) -> None:
        """Write the file, see `ArtifactFolder.write`."""
        self.folder.write(self.name, write)

    def write_bytes(self, data: bytes) -> None:
        """Write the content of the file."""
        self.folder.write(self.name, lambda stream: stream.write(data))

    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self.folder.size(self.name)


@dataclass(frozen=True)
class LocalFolder(ArtifactFolder):
    """An artifact's folder on this machine's disk, or on a disk that all machines share."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root

    def subfolder(self, name: str) -> LocalFolder:
        (self.root / name).mkdir(exist_ok=True)
        return LocalFolder(self.root / name)

    def local(self, name: str) -> Path:
        return filesystem.regular(self.root / name)

    def write(self, name: str, write: Callable[[Any], Any]) -> None:
        path = self.root / name
        if path.parent != self.root:  # an attempt that was given up stays removed
            path.parent.mkdir(exist_ok=True)
        filesystem.write_atomic(path, write)

    def read_head(self, name: str, read: Callable[[Any], Any]) -> Any:
        return read(self.local(name))

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def names(self, suffix: str = "") -> list[str]:
        return names_on_disk(self.root, suffix)

    def discard(self, name: str = "") -> None:
        filesystem.remove(self.root / name)

    def finished(self) -> dict[str, Any]:
        remove_partial_files(self.root)
        return {
            "files": {
                name: {
                    "size": (self.root / name).stat().st_size,
                    "sha256": file_digest(self.root / name),
                }
                for name in self.names()
            }
        }

    def check_content(self, files: Files) -> None:
        """Do nothing, because `Storage.fault` reads the content of files on this disk."""


def names_on_disk(folder: Path, suffix: str = "") -> list[str]:
    """Return the names of the files in a folder and its subfolders, relative to it, in order."""
    paths = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files that writers which were killed left in a folder."""
    for path in folder.rglob(".*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def fault_on_disk(folder: Path, files: Files, memory: Path, again: bool = False) -> str:
    """Return what differs between the files in a folder and their entries of a manifest, or "".

    Only files that changed since they were last hashed are hashed.

    Args:
        folder: the folder.
        files: size and SHA-256 by name.
        memory: file that keeps the states in which files were hashed.
        again: whether all files are hashed.
    """
    known, stamps, hashed = {} if again else _known_stamps(memory), {}, False
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing, or not a file"
        stamps[name] = stamp(path)
        if stamps[name][0] != entry["size"]:
            return f"{name} has {stamps[name][0]} bytes, not {entry['size']}"
        if known.get(name) != stamps[name]:
            hashed = True
            if file_digest(path) != entry["sha256"]:
                return f"{name} does not match its SHA-256"
    if hashed:
        remember(memory, stamps)
    return ""


def _known_stamps(memory: Path) -> dict[str, list[int]]:
    try:
        stamps: dict[str, list[int]] = typed(
            dict[str, list[int]], from_json(filesystem.regular(memory).read_bytes())
        )
    except (OSError, ValueError, InputError):
        return {}
    return stamps


def remember(memory: Path, stamps: Mapping[str, list[int]]) -> None:
    """Keep the states in which files were hashed."""
    with contextlib.suppress(OSError):  # without the states, files are only hashed again
        memory.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(stamps).encode()
        filesystem.write_atomic(memory, lambda stream: stream.write(data))


def stamp(path: Path) -> list[int]:
    """Return numbers that change whenever a file changes."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
