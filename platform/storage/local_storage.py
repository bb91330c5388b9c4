"""Storage in a folder of this machine's disk, or of a disk that all machines share.

An artifact is computed in a folder under `attempts/` and appears when that folder is renamed, so an
aborted write is never visible.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from . import filesystem
from .artifact_files import (
    MANIFEST,
    ArtifactFolder,
    LocalFolder,
    fault_on_disk,
    remember,
    stamp,
)
from .storage import Location, Storage, artifact_name, checked_name, quarantine_name


@dataclass(frozen=True)
class LocalStorage(Storage):
    """Storage in a folder, which need not exist yet."""

    root: Path

    pace: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())

    @property
    def local_folder(self) -> Path:
        return self.root

    def path(self, name: str) -> Path:
        """Return the path of a name."""
        return self.root / checked_name(name)

    def address(self, name: str = "") -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        path = self.path(name)
        with filesystem.storage_errors(path):
            return filesystem.regular(path).read_bytes()

    def read_with_version(self, name: str) -> tuple[bytes, str]:
        path = self.path(name)
        with filesystem.storage_errors(path), filesystem.regular(path).open("rb") as stream:
            return stream.read(), _version(os.fstat(stream.fileno()))

    def write(self, name: str, data: bytes) -> None:
        path = self.path(name)
        with filesystem.write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            filesystem.write_atomic(path, lambda stream: stream.write(data))

    def create(self, name: str, data: bytes) -> str:
        path = self.path(name)
        with filesystem.write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        state = filesystem.create(path, data)
        return _version(state) if state else ""

    def replace(self, name: str, data: bytes, version: str) -> str:
        path = self.path(name)
        if not path.parent.is_dir():
            return ""
        with filesystem.write_errors(path), _folder_lock(path.parent):
            if not version or self.version(name) != version:
                return ""
            with _part(path, data, path.stat().st_mtime_ns) as (part, new_version):
                os.replace(part, path)
                return new_version

    def append(self, name: str, data: bytes) -> None:
        path = self.path(name)
        with filesystem.write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as stream:
                stream.write(data)

    def remove(self, name: str) -> None:
        path = self.path(name)
        with filesystem.write_errors(path):
            path.unlink(missing_ok=True)

    def remove_tree(self, name: str) -> None:
        shutil.rmtree(self.path(name), ignore_errors=True)

    def exists(self, name: str) -> bool:
        path = self.path(name)
        with filesystem.storage_errors(path):
            return path.exists()

    def names(self, name: str, suffix: str = "") -> list[str]:
        folder = self.path(name)
        with filesystem.storage_errors(folder):
            entries = os.listdir(folder) if folder.is_dir() else []
        return sorted(n for n in entries if n.endswith(suffix) and not n.startswith("."))

    def modified(self, name: str) -> float:
        path = self.path(name)
        with filesystem.storage_errors(path):
            return path.stat().st_mtime if path.exists() else 0.0

    def version(self, name: str) -> str:
        path = self.path(name)
        with contextlib.suppress(FileNotFoundError), filesystem.storage_errors(path):
            return _version(path.stat())
        return ""

    def versions(self, name: str, file_names: Collection[str]) -> dict[str, str]:
        files = (f"{name}/{folder}/{file}" for folder in self.names(name) for file in file_names)
        return {file: version for file in files if (version := self.version(file))}

    def lock(self, name: str, wait: bool = True) -> AbstractContextManager[None]:
        return filesystem.lock(self.path(name), wait)

    def is_locked(self, name: str) -> bool:
        path = self.path(name)
        with filesystem.storage_errors(path):
            return filesystem.is_locked(path)

    def check_writable(self, *names: str) -> None:
        for name in names:
            filesystem.check_writable(self.path(name))

    def local_copy(self, name: str) -> Path:
        return self.path(name)

    def upload_copy(self, name: str) -> None:
        """Do nothing, because the copy is the file itself."""

    def drop_copy(self, name: str) -> None:
        """Do nothing, because the copy is the file itself."""

    def for_ray(self, name: str) -> dict[str, Any]:
        return {"storage_path": str(self.path(name))}

    def new_attempt(self, stage: str, key: str) -> LocalFolder:
        attempts = self.root / "attempts"
        for abandoned in attempts.glob(f"{key[:32]}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        folder = attempts / f"{key[:32]}-{uuid.uuid4().hex[:8]}"
        with filesystem.write_errors(folder):
            folder.mkdir(parents=True)
        return LocalFolder(folder)

    def publish(self, attempt: ArtifactFolder, manifest: Mapping[str, Any]) -> bool:
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        name = artifact_name(manifest)
        target = self.path(name)
        with filesystem.write_errors(target):
            (attempt.path / MANIFEST).write_text(text)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (target / MANIFEST).exists():  # NFS may have hidden it until now
                return False
            if target.exists():
                self.quarantine(name, "it has no manifest")
            try:
                attempt.path.rename(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # NFS still hides it
                    return False
                raise
            stamps = {file: stamp(target / file) for file in manifest["files"]}
            remember(self._memory(manifest), stamps)
        return True

    def artifact_folder(self, manifest: Mapping[str, Any]) -> LocalFolder:
        return LocalFolder(self.path(artifact_name(manifest)))

    def fault(self, manifest: Mapping[str, Any], again: bool = False) -> str:
        folder = self.path(artifact_name(manifest))
        return fault_on_disk(folder, manifest["files"], self._memory(manifest), again)

    def _memory(self, manifest: Mapping[str, Any]) -> Path:
        return self.path(f"verified/{manifest['key']}.json")

    def quarantine(self, name: str, fault: str) -> Location:
        target = self.location("quarantine", quarantine_name(name))
        path = self.path(target.name)
        with filesystem.write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self.path(name).rename(path)
                (target / "fault.txt").write(f"{fault}\n".encode())
        return target


def _version(state: os.stat_result) -> str:
    return f"{state.st_size}-{state.st_mtime_ns}-{state.st_ino}"


@contextlib.contextmanager
def _part(path: Path, data: bytes, after: int) -> Iterator[tuple[Path, str]]:
    """Write the future content of a file beside it, and yield its path and its version.

    Args:
        path: the file.
        data: the content.
        after: time in nanoseconds that the new file's time has to exceed, so that a file never gets
            a version again.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(data)
        state = part.stat()
        os.utime(part, ns=(state.st_atime_ns, max(state.st_mtime_ns, after + 1)))
        yield part, _version(part.stat())
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder during a block; the system frees it if the holder dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
