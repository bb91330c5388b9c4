"""The files of an artifact in an object store.

`artifacts/STAGE/KEY/` holds `manifest.json`, written last, and an object `try-ID/NAME~SHA256` for
each file NAME of each attempt to compute the artifact; the manifest names the attempt that counts.
The object's name says what it must contain, so a task that runs twice, or an upload that goes on
after its task was given up, damages nothing. A machine fetches a file into its cache when it first
reads the file, and verifies it then.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError, StorageError
from ...serialization import from_json, typed
from .. import filesystem
from ..artifact_files import MANIFEST, ArtifactFolder, Files, names_on_disk
from ..storage import quarantine_name
from .bucket import Bucket

MARK = "~"
ATTEMPT = re.compile(r"try-[0-9a-f]{12}")
"""Pattern of the name of an attempt."""
LOCKS = 64
"""Most downloads that this machine makes at the same time."""


def cached(bucket: Bucket, name: str) -> Path:
    """Return the path that a name has in this machine's cache."""
    return filesystem.cache() / "s3" / bucket.path / name


@dataclass(frozen=True)
class ObjectFolder(ArtifactFolder):
    """The folder of one attempt to compute an artifact, or a subfolder of it.

    Args:
        bucket: objects of the store.
        attempt: name of the attempt, `artifacts/STAGE/KEY/try-ID`.
        inside: name of a subfolder with a slash at its end; empty for the whole attempt.
    """

    bucket: Bucket
    attempt: str
    inside: str = ""

    @property
    def path(self) -> Path:
        return cached(self.bucket, f"{self.attempt}/{self.inside}")

    @property
    def artifact(self) -> str:
        """The name of the artifact's folder."""
        return self.attempt.rpartition("/")[0]

    def subfolder(self, name: str) -> ObjectFolder:
        return ObjectFolder(self.bucket, self.attempt, f"{self.inside}{name}/")

    def _object(self, name: str, digest: str) -> str:
        return f"{self.attempt}/{self.inside}{name}{MARK}{digest}"

    def sizes(self) -> dict[tuple[str, str], int]:
        """Return the bytes of each object, by name and SHA-256 of the file, oldest first."""
        start, size_of = f"{self.attempt}/{self.inside}", {}
        objects = self.bucket.objects(start.rstrip("/")).items()
        for key, info in sorted(objects, key=lambda pair: pair[1].mtime_ns or 0):
            name, mark, digest = key.removeprefix(start).rpartition(MARK)
            if mark:
                size_of[name, digest] = int(info.size)
        return size_of

    def uploaded(self) -> dict[str, dict[str, Any]]:
        """Return size and SHA-256 of the uploaded files; of two objects the later counts."""
        objects = self.sizes().items()
        return {name: {"size": size, "sha256": digest} for (name, digest), size in objects}

    def _files(self) -> Files:
        """Return the files that the manifest lists if it names this attempt, else all files."""
        try:
            files = _files_of_manifest(self.bucket, self.attempt)
        except StorageError:
            raise
        except (KeyError, ValueError, TypeError, OSError):
            return self.uploaded()
        start = self.inside
        return {k.removeprefix(start): v for k, v in files.items() if k.startswith(start)}

    def local(self, name: str) -> Path:
        path = self.path / name
        if path.exists():
            return filesystem.regular(path)
        with _fetch_lock(path):
            entry = None if path.exists() else self._files().get(name)
            if entry is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with filesystem.replacing(path) as out:
                    for data in self.content(name, entry["sha256"]):
                        out.write(data)
        return path

    def content(self, name: str, digest: str) -> Iterator[bytes]:
        """Iterate over the content of a file's object, a chunk at a time.

        Raises:
            InputError: the object is missing, cannot be read, or (after the last chunk) is damaged.
        """
        key, hasher = self._object(name, digest), hashlib.sha256()
        try:
            with self.bucket.stream(key) as source:
                while data := source.read(filesystem.CHUNK):
                    hasher.update(data)
                    yield data
        except FileNotFoundError as error:
            raise InputError(f"there is no {self.bucket.address(key)}") from error
        if hasher.hexdigest() != digest:
            raise InputError(
                f"{self.bucket.address(key)} does not match its SHA-256; its artifact "
                f"{self._set_aside(name)}"
            )

    def _set_aside(self, name: str) -> str:
        """Move the artifact with a damaged file to quarantine, and return what became of it."""
        _files_of_manifest.cache_clear()
        try:
            try:
                _files_of_manifest(self.bucket, self.attempt)
            except StorageError:  # a ValueError, too
                raise
            except (ValueError, TypeError):  # a damaged manifest
                pass
            fault = f"{name} does not match its SHA-256"
            quarantine(self.bucket, self.artifact, fault, self.attempt)
        except KeyError:  # the artifact is another attempt now
            return "was computed again meanwhile, so run the command again"
        except FileNotFoundError:
            return "was moved to quarantine meanwhile, so run the command again"
        except (InputError, OSError):
            return "cannot be moved to quarantine"
        return "was moved to quarantine, and the next run computes it again"

    def write(self, name: str, write: Callable[[Any], Any]) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        filesystem.write_atomic(path, write)
        self.bucket.upload(path, self._object(name, filesystem.file_digest(path)))

    def read_head(self, name: str, read: Callable[[Any], Any]) -> Any:
        path = self.path / name
        entry = None if path.exists() else self._files().get(name)
        if entry is None:
            return read(filesystem.regular(path))
        with self.bucket.stream(self._object(name, entry["sha256"])) as stream:
            return read(stream)

    def size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if path.exists() else int(self._files()[name]["size"])

    def names(self, suffix: str = "") -> list[str]:
        here = names_on_disk(self.path, suffix)
        return sorted({*here, *(name for name in self.uploaded() if name.endswith(suffix))})

    def discard(self, name: str = "") -> None:
        filesystem.remove(self.path / name)
        if not name and not self.inside:
            self.bucket.remove_all(self.attempt)
            return
        start = f"{self.attempt}/{self.inside}"
        for key in self.bucket.objects(start.rstrip("/")):
            file = key.removeprefix(start).rpartition(MARK)[0]
            if not name or file == name or file.startswith(f"{name}/"):
                self.bucket.remove(key)

    def finished(self) -> dict[str, Any]:
        return {"files": self.uploaded(), "attempt": self.attempt.rpartition("/")[2]}

    def check_content(self, files: Files) -> None:
        for name, entry in files.items():
            for _ in self.content(name, entry["sha256"]):
                pass

    def remove_other_attempts(self) -> None:
        """Remove all other attempts at the artifact that this attempt has computed.

        Their files are removed from the object store and from this machine's cache. The attempts
        are left by processes that died, or belong to a process that lost its lease and will find
        that this attempt was first.
        """
        for info in self.bucket.listing(self.artifact, recursive=False):
            other = f"{self.artifact}/{info.base_name}"
            if not info.is_file and other != self.attempt:
                self.bucket.remove_all(other)
        for copies in cached(self.bucket, self.artifact).glob("try-*"):
            if copies != self.path:
                shutil.rmtree(copies, ignore_errors=True)


@functools.lru_cache(maxsize=256)
def _files_of_manifest(bucket: Bucket, attempt: str) -> Files:
    """Return the manifest's files; raises KeyError (not cached) if it names another attempt."""
    folder, _, name = attempt.rpartition("/")
    manifest: dict[str, Any] = typed(dict[str, Any], from_json(bucket.read(f"{folder}/{MANIFEST}")))
    if manifest["attempt"] != name:
        raise KeyError(name)
    files: Files = manifest["files"]
    return files


def _fetch_lock(path: Path) -> Any:
    """Return the lock that keeps other processes of this machine from fetching the same file."""
    number = hashlib.sha256(str(path).encode()).digest()[0] % LOCKS
    return filesystem.lock(filesystem.cache() / "fetching" / f"{number}.lock")


def quarantine(bucket: Bucket, name: str, fault: str, attempt: str = "") -> str:
    """Move an artifact, or the checkpoints of a training, to quarantine; the manifest goes first.

    Args:
        bucket: objects of the store.
        name: name of the folder.
        fault: what is wrong, which is noted beside the files.
        attempt: name of the only attempt whose files are moved; needed without the artifact's lock,
            since other processes may be uploading theirs. Empty: all files.

    Returns:
        The name of the new folder.
    """
    target = f"quarantine/{quarantine_name(name)}"
    manifest = f"{name}/{MANIFEST}"
    for key in sorted(bucket.objects(name), key=lambda key: key != manifest):
        if key == manifest or key.startswith(f"{attempt}/" if attempt else name):
            bucket.move(key, target + key.removeprefix(name))
    bucket.write(f"{target}/fault.txt", f"{fault}\n".encode())
    shutil.rmtree(cached(bucket, name), ignore_errors=True)
    _files_of_manifest.cache_clear()
    return target
