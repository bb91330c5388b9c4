"""The files of artifacts: on disk as they are; in an object store kept by content, fetched once.

Of an artifact in an object store, `artifacts/STAGE/KEY/` holds `manifest.json`, written last, and
`try-ID/NAME~SHA256` for each file NAME of the attempt that the manifest names. An object's name
says what must be in it, so a task that runs twice, or an upload that goes on after its task was
given up, does not damage what is there. A file is fetched when it is first read on a machine, and
verified then.
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
from ..serialization import instant, typed
from . import filesystem
from .json_files import read_json

MANIFEST = "manifest.json"
MARK = "~"
LOCKS = 64
"""Downloads that this machine makes side by side, at most."""
Files = Mapping[str, Mapping[str, Any]]
"""Size and SHA-256 by name, as in a manifest."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """How long it took to compute an artifact, and when that was done."""

    seconds: float
    written: str

    def __post_init__(self) -> None:
        instant(self.written)


def noted_in(manifest: Any) -> Noted:
    """What a manifest says of how its artifact came about.

    Raises:
        ValueError: it lacks that, or is no manifest.
    """
    entries = typed(dict[str, Any], manifest)
    noted: Noted = typed(Noted, {k: v for k, v in entries.items() if k in ("seconds", "written")})
    return noted


def _attempt(path: Path) -> Path | None:
    """The folder of the attempt that a file, or folder, in an object store belongs to."""
    text = str(path)
    if not text.startswith(f"{filesystem.cache()}/s3/"):
        return None
    found = filesystem.ATTEMPT.search(text)
    return Path(text[: found.end()]) if found else None


def key_of(attempt: Path) -> str:
    """BUCKET/KEY of an attempt's folder."""
    return f"{filesystem.object_of(attempt.parent)}/{attempt.name}"


def sizes(attempt: Path) -> dict[tuple[str, str], int]:
    """Bytes by name and SHA-256 of what an attempt has in its object store, oldest first."""
    key, found = key_of(attempt), {}
    for info in sorted(filesystem.listing(key), key=lambda info: info.mtime_ns or 0):
        name, mark, digest = info.path.removeprefix(f"{key}/").rpartition(MARK)
        if mark and info.is_file:
            found[name, digest] = int(info.size)
    return found


def listed(attempt: Path) -> dict[str, dict[str, Any]]:
    """The files that an attempt has in its object store; of two of one name the later."""
    found = sizes(attempt).items()
    return {name: {"size": size, "sha256": digest} for (name, digest), size in found}


def _files(attempt: Path) -> Files:
    """The files of an attempt: those of the manifest where it names this one, else all."""
    try:
        return _of_manifest(attempt)
    except (KeyError, ValueError, TypeError, OSError):
        return listed(attempt)


@functools.lru_cache(maxsize=256)
def _of_manifest(attempt: Path) -> Files:
    """Raises KeyError where the manifest names another attempt; that is not kept."""
    manifest = read_json(attempt.parent / MANIFEST)
    if manifest["attempt"] != attempt.name:
        raise KeyError(attempt.name)
    files: Files = manifest["files"]
    return files


def local(path: Path | str) -> Path:
    """The path of a file that can be read on this machine, fetched if need be; one that the
    artifact lacks is not there.

    Raises:
        InputError: it is damaged, or cannot be fetched, or is something else than a file.
    """
    path = Path(path)
    attempt = _attempt(path)
    if attempt is None or path.exists():
        return filesystem.regular(path)
    name = path.relative_to(attempt).as_posix()
    with _alone(path):
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
    """What the object of a file holds, a chunk at a time.

    Raises:
        InputError: at the end, if it is damaged; or it is missing, or cannot be read.
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
def _alone(path: Path) -> Iterator[None]:
    """Keeps other processes of this machine from fetching the same file meanwhile."""
    number = hashlib.sha256(str(path).encode()).digest()[0] % LOCKS
    lock = filesystem.cache() / "fetching" / f"{number}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def whole(attempt: Path) -> list[Path]:
    """The files of an attempt on this disk; what a killed worker left half-written is removed."""
    found = [path for path in sorted(attempt.rglob("*")) if path.is_file()]
    for path in found:
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
    return [path for path in found if not path.name.startswith(".")]


def sent(path: Path) -> None:
    """Uploads a file that was written into an attempt; on disk there is nothing to do."""
    attempt = _attempt(path)
    if attempt:
        name = path.relative_to(attempt).as_posix()
        filesystem.send(path, f"{key_of(attempt)}/{name}{MARK}{filesystem.file_digest(path)}")


def write_atomic(path: Path, write: Callable[[Any], None]) -> None:
    """Calls `write` with a binary stream and shows the file under its name when it is whole; one
    of an artifact in an object store is there then, too."""
    if _attempt(path):
        path.parent.mkdir(parents=True, exist_ok=True)  # on this node, nobody may have written yet
    with filesystem.replacing(path) as stream:
        write(stream)
    sent(path)


def names(folder: Path, suffix: str = "") -> list[str]:
    """The files with a suffix in a folder of an attempt, whichever machine wrote them."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob(f"*{suffix}") if p.is_file()}
    attempt = _attempt(folder)
    if attempt:
        start = folder.relative_to(attempt).as_posix() + "/" if folder != attempt else ""
        there = (name for name in listed(attempt) if name.startswith(start))
        found |= {name.removeprefix(start) for name in there if name.endswith(suffix)}
    return sorted(found)


def discard(path: Path) -> None:
    """Removes a file, or folder, of an attempt."""
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
            with filesystem.told(f"{filesystem.SCHEME}{info.path}"):
                filesystem.system(key).delete_file(info.path)


def sweep(attempt: Path) -> None:
    """Removes the other attempts at an artifact that is there now: of who died, or of who lost its
    lease and will find that this one was first."""
    start = filesystem.object_of(attempt.parent)
    for info in filesystem.listing(start, recursive=False):
        if not info.is_file and info.base_name != attempt.name:
            filesystem.empty(info.path)


def size(path: Path) -> int:
    """Bytes of a file, which need not be on this machine."""
    attempt = _attempt(path)
    if attempt is None or path.exists():
        return path.stat().st_size
    return int(_files(attempt)[path.relative_to(attempt).as_posix()]["size"])


def opened(path: Path | str, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of a file, given its path, or a stream where it is elsewhere: for who
    needs a few bytes of it, which are not verified."""
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
    """Moves an artifact of an object store, or what is kept of a training, out of the way, its
    manifest first, with a note."""
    name = f"{folder.parent.name}-{folder.name[:12]}-{uuid.uuid4().hex[:6]}"
    target = root / "quarantine" / name
    start, end = filesystem.object_of(folder), filesystem.object_of(target)
    moved = [info.path for info in filesystem.listing(start) if info.is_file]
    for key in sorted(moved, key=lambda key: not key.endswith(f"/{MANIFEST}")):
        with contextlib.suppress(FileNotFoundError), filesystem.told(f"{filesystem.SCHEME}{key}"):
            filesystem.system(key).move(key, end + key.removeprefix(start))
    filesystem.write(target / "fault.txt", f"{fault}\n".encode())
    shutil.rmtree(folder, ignore_errors=True)
    _of_manifest.cache_clear()
    return target


NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
"""What a stage, the key of an artifact, a split is called: each is part of a path."""
