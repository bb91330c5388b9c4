"""Read and write the files of artifacts, on disk or in an object store.

On disk a file lies in the artifact's folder. In an object store, `artifacts/STAGE/KEY/` holds
`manifest.json`, written last, and an object `try-ID/NAME~SHA256` for each file NAME of each attempt
to compute the artifact; the manifest names the attempt that counts. The object's name says what it
must contain, so a task that runs twice, or an upload that goes on after its task was given up,
damages nothing. A machine fetches a file when it first reads it, and verifies it then.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from ..serialization import parse_time, typed
from . import filesystem
from .json_files import read_json

MANIFEST = "manifest.json"
MARK = "~"
LOCKS = 64
"""Most downloads that this machine makes at the same time."""
Files = Mapping[str, Mapping[str, Any]]
"""Size and SHA-256 of files by name, as in a manifest."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """The seconds that it took to compute an artifact, and the time when it was written."""

    seconds: float
    written: str

    def __post_init__(self) -> None:
        parse_time(self.written)


def noted_in(manifest: Any) -> Noted:
    """Return what a manifest says about the computation of its artifact.

    Raises:
        ValueError: `manifest` lacks these fields, or is not a manifest.
    """
    entries = typed(dict[str, Any], manifest)
    noted: Noted = typed(Noted, {k: v for k, v in entries.items() if k in ("seconds", "written")})
    return noted


def _attempt(path: Path) -> Path | None:
    """Return the folder of the attempt that a path in an object store belongs to, else None."""
    text = str(path)
    if not text.startswith(f"{filesystem.cache()}/s3/"):
        return None
    match = filesystem.ATTEMPT.search(text)
    return Path(text[: match.end()]) if match else None


def key_of(attempt: Path) -> str:
    """Return BUCKET/KEY of an attempt's folder."""
    return f"{filesystem.object_of(attempt.parent)}/{attempt.name}"


def sizes(attempt: Path) -> dict[tuple[str, str], int]:
    """Return the bytes of each object of an attempt, by name and SHA-256, oldest first."""
    key, size_of = key_of(attempt), {}
    for info in sorted(filesystem.listing(key), key=lambda info: info.mtime_ns or 0):
        name, mark, digest = info.path.removeprefix(f"{key}/").rpartition(MARK)
        if mark and info.is_file:
            size_of[name, digest] = int(info.size)
    return size_of


def listed(attempt: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of the files of an attempt in its object store.

    Of two objects of one file the later counts.
    """
    objects = sizes(attempt).items()
    return {name: {"size": size, "sha256": digest} for (name, digest), size in objects}


def _files(attempt: Path) -> Files:
    """Return the files that the manifest lists if it names this attempt, else all of its files."""
    try:
        return _of_manifest(attempt)
    except (KeyError, ValueError, TypeError, OSError):
        return listed(attempt)


@functools.lru_cache(maxsize=256)
def _of_manifest(attempt: Path) -> Files:
    """Return the manifest's files; raises KeyError (not cached) if it names another attempt."""
    manifest = read_json(attempt.parent / MANIFEST)
    if manifest["attempt"] != attempt.name:
        raise KeyError(attempt.name)
    files: Files = manifest["files"]
    return files


def local(path: Path | str) -> Path:
    """Return the path of a file on this machine, fetching the file first if necessary.

    A path that the artifact has no file for is returned as it is.

    Raises:
        InputError: the file is damaged, cannot be fetched, or is not a regular file.
    """
    path = Path(path)
    attempt = _attempt(path)
    if attempt is None or path.exists():
        return filesystem.regular(path)
    name = path.relative_to(attempt).as_posix()
    with _fetch_lock(path):
        entry = None if path.exists() else _files(attempt).get(name)
        if entry is not None:
            _fetch(attempt, name, entry["sha256"])
    return path


def _fetch(attempt: Path, name: str, digest: str) -> None:
    path = attempt / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.replacing(path) as out:
        for data in content(attempt, name, digest):
            out.write(data)


def content(attempt: Path, name: str, digest: str) -> Iterator[bytes]:
    """Iterate over the content of a file's object, a chunk at a time.

    Raises:
        InputError: the object is missing, cannot be read, or (after the last chunk) is damaged.
    """
    key, hasher = f"{key_of(attempt)}/{name}{MARK}{digest}", hashlib.sha256()
    try:
        with filesystem.stream(key) as source:
            while data := source.read(filesystem.CHUNK):
                hasher.update(data)
                yield data
    except FileNotFoundError as error:
        raise InputError(f"there is no {filesystem.SCHEME}{key}") from error
    if hasher.hexdigest() != digest:
        fate = "was moved to quarantine, and the next run computes it again"
        try:
            quarantine(attempt.parent, f"{name} does not match its SHA-256", attempt.parents[3])
        except StorageError:
            fate = "cannot be moved to quarantine"
        raise InputError(
            f"{filesystem.SCHEME}{key} does not match its SHA-256; its artifact {fate}"
        )


@contextlib.contextmanager
def _fetch_lock(path: Path) -> Iterator[None]:
    """Keep other processes of this machine from fetching the same file in this block."""
    number = hashlib.sha256(str(path).encode()).digest()[0] % LOCKS
    lock = filesystem.cache() / "fetching" / f"{number}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def whole(attempt: Path) -> list[Path]:
    """Return the files of an attempt on this disk, removing half-written files."""
    paths = [path for path in sorted(attempt.rglob("*")) if path.is_file()]
    for path in paths:
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
    return [path for path in paths if not path.name.startswith(".")]


def sent(path: Path) -> None:
    """Upload a file that was written into an attempt; does nothing for a store on disk."""
    attempt = _attempt(path)
    if attempt:
        name = path.relative_to(attempt).as_posix()
        filesystem.send(path, f"{key_of(attempt)}/{name}{MARK}{filesystem.file_digest(path)}")


def write_atomic(path: Path, write: Callable[[Any], None]) -> None:
    """Write a file that appears under its name only when it is whole, and upload it if need be.

    Args:
        path: the file.
        write: writes the content into the binary stream that it is given.
    """
    if _attempt(path):
        path.parent.mkdir(parents=True, exist_ok=True)  # the folder may be missing on this node
    with filesystem.replacing(path) as stream:
        write(stream)
    sent(path)


def names(folder: Path, suffix: str = "") -> list[str]:
    """Return the files with a suffix in a folder of an attempt, from whichever machine."""
    files = {p.relative_to(folder).as_posix() for p in folder.rglob(f"*{suffix}") if p.is_file()}
    attempt = _attempt(folder)
    if attempt:
        start = folder.relative_to(attempt).as_posix() + "/" if folder != attempt else ""
        uploaded = (name for name in listed(attempt) if name.startswith(start))
        files |= {name.removeprefix(start) for name in uploaded if name.endswith(suffix)}
    return sorted(files)


def discard(path: Path) -> None:
    """Remove a file or folder of an attempt, on this disk and in the object store."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    attempt = _attempt(path)
    if attempt is None:
        return
    if path == attempt:
        filesystem.empty(key_of(attempt))
        return
    key, name = key_of(attempt), path.relative_to(attempt).as_posix()
    for info in filesystem.listing(key):
        rest = info.path.removeprefix(f"{key}/")
        if info.is_file and (rest.startswith(f"{name}/") or rest.rpartition(MARK)[0] == name):
            with filesystem.storage_errors(f"{filesystem.SCHEME}{info.path}"):
                filesystem.system(key).delete_file(info.path)


def sweep(attempt: Path) -> None:
    """Remove all other attempts at an artifact that this attempt has computed.

    They are left by processes that died, or belong to a process that lost its lease and will find
    that this attempt was first.
    """
    start = filesystem.object_of(attempt.parent)
    for info in filesystem.listing(start, recursive=False):
        if not info.is_file and info.base_name != attempt.name:
            filesystem.empty(info.path)


def size(path: Path) -> int:
    """Return the size in bytes of a file, which need not be on this machine."""
    attempt = _attempt(path)
    if attempt is None or path.exists():
        return path.stat().st_size
    return int(_files(attempt)[path.relative_to(attempt).as_posix()]["size"])


def opened(path: Path | str, read: Callable[[Any], Any]) -> Any:
    """Return the result of `read` on a file, without fetching the whole file or verifying it.

    Args:
        path: the file.
        read: reads a few bytes; is given the path, or a stream of the file's object where the file
            is not on this machine.
    """
    path = Path(path)
    attempt = _attempt(path)
    if attempt is None or path.exists():
        return read(filesystem.regular(path))
    name = path.relative_to(attempt).as_posix()
    entry = _files(attempt).get(name)
    if entry is None:
        return read(path)
    key = f"{key_of(attempt)}/{name}{MARK}{entry['sha256']}"
    with filesystem.stream(key) as stream:
        return read(stream)


def quarantine(folder: Path, fault: str, root: Path) -> Path:
    """Move an artifact, or the checkpoints of a training, in an object store to quarantine.

    The manifest goes first.

    Args:
        folder: the folder to move.
        fault: what is wrong, which is noted beside the files.
        root: root of the store.

    Returns:
        The new folder.
    """
    name = f"{folder.parent.name}-{folder.name[:12]}-{uuid.uuid4().hex[:6]}"
    target = root / "quarantine" / name
    start, end = filesystem.object_of(folder), filesystem.object_of(target)
    moved = [info.path for info in filesystem.listing(start) if info.is_file]
    for key in sorted(moved, key=lambda key: not key.endswith(f"/{MANIFEST}")):
        with (
            contextlib.suppress(FileNotFoundError),
            filesystem.storage_errors(f"{filesystem.SCHEME}{key}"),
        ):
            filesystem.system(key).move(key, end + key.removeprefix(start))
    filesystem.write(target / "fault.txt", f"{fault}\n".encode())
    shutil.rmtree(folder, ignore_errors=True)
    _of_manifest.cache_clear()
    return target


NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
"""Pattern of the names of stages, keys and splits, each of which is part of a path."""
