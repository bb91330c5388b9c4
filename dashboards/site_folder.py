"""Writing a site into a folder without touching the files of others.

The folder holds a list of the files that were written into it. Only files on the list are replaced
or removed, and only while their content is as it was written; every other file stays as it is. New
files are made in a staging folder inside the folder. Then the list gets the new files beside the
earlier ones, the new files are moved to their paths, earlier files that the site no longer has are
removed, and the list is cut to the new files. So the list names every file that was written, at
whatever moment a process is killed, and the next process can go on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from ..platform.data.names import check_id
from ..platform.errors import InputError
from ..platform.storage.filesystem import file_digest
from ..platform.storage.json_files import record_from_json

LIST = "wsss-site.json"
_STAGING = re.compile(r"\.wsss-site-[0-9a-f]{32}")
Written = Mapping[str, tuple[str, ...]]
"""SHA-256 of each written file by path; two of them while a newer file replaces an earlier one."""


def check(out: Path, paths: Collection[str]) -> None:
    """Refuse a folder into which a site cannot be written.

    Args:
        out: the folder, which may be missing.
        paths: paths of the files that the site will have.

    Raises:
        InputError: `out` is not a folder, or holds something other than a site, or one of `paths`
            is taken by a file that no report wrote or that was changed since.
    """
    if _is_folder(out):
        with _exclusive(out):
            _written(out, paths)


def _written(out: Path, paths: Collection[str]) -> Written:
    """Return the files that reports wrote into a folder; raise as `check` does.

    The caller holds the folder by `_exclusive`.
    """
    if not os.path.lexists(out / LIST):
        if any(not _STAGING.fullmatch(name) for name in os.listdir(out)):
            raise InputError(
                f"{out} holds something other than a report: it has no list of files, {LIST}; "
                "name another folder (reports of earlier versions are not replaced)"
            )
        written: Written = {}
    else:
        written = _read(out / LIST)
    for path in paths:
        if obstacle := _obstacle(out, path, written):
            raise InputError(
                f"{obstacle} is in the way: no report wrote it, or it was changed since; move it "
                "elsewhere or name another folder"
            )
    return written


def write(out: Path, paths: Collection[str], content: Callable[[str], bytes | None]) -> None:
    """Write a site into a folder, in place of an earlier site.

    Args:
        out: the folder; created if it is missing.
        paths: paths of the files of the site.
        content: returns the content of a file by its path; None for a file to leave out.

    Raises:
        InputError: as `check`, or as `content` does. The folder then stays as it was.
    """
    created = not _is_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with _exclusive(out):
            _write(out, paths, content)
    finally:
        if created:
            with contextlib.suppress(OSError):  # a folder that holds the site is not empty
                out.rmdir()


def _write(out: Path, paths: Collection[str], content: Callable[[str], bytes | None]) -> None:
    _written(out, paths)
    for name in os.listdir(out):
        if _STAGING.fullmatch(name):  # left by a killed process; no other one is writing now
            shutil.rmtree(out / name, ignore_errors=True)
    staging = out / f".wsss-site-{uuid.uuid4().hex}"
    try:
        staging.mkdir()
        digests = _stage(staging, paths, content)
        earlier = _written(out, digests)  # a user may have changed files meanwhile
        replaced = {path: (*earlier.get(path, ()), digest) for path, digest in digests.items()}
        _write_list(out, staging, {**earlier, **replaced})
        for path in digests:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, out / path)
        for path in earlier.keys() - digests.keys():
            if _has_digest(out / path, earlier[path]):
                _remove(out, path)
        _write_list(out, staging, {path: (digest,) for path, digest in digests.items()})
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stage(
    staging: Path, paths: Collection[str], content: Callable[[str], bytes | None]
) -> dict[str, str]:
    """Write the files of a site into a staging folder and return their SHA-256 by path."""
    digests = {}
    for path in paths:
        body = content(path)
        if body is None:
            continue
        for name in path.split("/"):
            check_id(name)
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(body)
        digests[path] = file_digest(staging / path)
    return digests


def _write_list(out: Path, staging: Path, written: Written) -> None:
    (staging / LIST).write_text(json.dumps(written, indent=0, sort_keys=True) + "\n")
    os.replace(staging / LIST, out / LIST)


def _read(path: Path) -> Written:
    """Return the list of written files; raise InputError where the file is no such list."""
    if not _is_regular_file(path):
        raise InputError(f"{path} is not the list of a report's files; name another folder")
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}; name another folder") from error
    written: Written = record_from_json(row, dict[str, tuple[str, ...]], path)
    for name in written:
        for component in name.split("/"):
            check_id(component)  # so that no path leads out of the folder
    return written


def _is_folder(out: Path) -> bool:
    """Return whether the folder exists; raise InputError where it can be neither used nor made."""
    existing = out
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.exists():
        raise InputError(f"{existing} is a link that leads nowhere; name another folder")
    if not existing.is_dir():
        raise InputError(f"{existing} is a file; name a folder for a report")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written into {existing}; name another folder")
    return existing == out


def _obstacle(out: Path, path: str, written: Written) -> Path | None:
    """Return the file or folder that keeps the file `path` of a site from being written, if any."""
    for parent in reversed(list((out / path).relative_to(out).parents)[:-1]):
        target = out / parent
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            return target
    target = out / path
    known = written.get(path, ())
    return target if os.path.lexists(target) and not _has_digest(target, known) else None


def _is_regular_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _has_digest(path: Path, digests: Collection[str]) -> bool:
    """Return whether a path is a regular file, not a link, with one of these SHA-256."""
    return os.path.lexists(path) and _is_regular_file(path) and file_digest(path) in digests


def _remove(out: Path, path: str) -> None:
    """Remove a file, and the folders that are empty without it."""
    (out / path).unlink()
    for parent in list(Path(path).parents)[:-1]:
        with contextlib.suppress(OSError):  # the folder holds another file
            (out / parent).rmdir()


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep other reports from writing into a folder during a block, if its disk has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system may have no locks for folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
