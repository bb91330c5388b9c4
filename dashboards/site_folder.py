"""The folder of a site: it keeps a list of the files that were written into it.

Only files of the list are replaced or removed, and only while they hold what was written; every
other file stays as it is. New files are made in a staging folder within; then the list takes them
up beside the earlier ones, they are moved, earlier files that the site no longer has are removed,
and the list is cut to what is there. So whenever a writing is broken off, the list knows each file
that was written, and the next writing goes on from there.
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

from ..platform.data.sources.source import check_id
from ..platform.errors import InputError
from ..platform.storage.filesystem import file_digest
from ..platform.storage.json_files import record_from_json

LIST = "wsss-site.json"
_STAGING = re.compile(r"\.wsss-site-[0-9a-f]{32}")
Written = Mapping[str, tuple[str, ...]]
"""The SHA-256 of each file by its path; of an earlier and a newer file while one is replaced."""


def check(out: Path, paths: Collection[str]) -> None:
    """Refuses a folder into which a site cannot be written.

    Args:
        out: the folder, which need not be there.
        paths: files that the site will have.

    Raises:
        InputError: `out` is no folder or holds something else than a site, or a file that was not
            written as it is has one of `paths`.
    """
    if _is_folder(out):
        with _alone(out):
            _written(out, paths)


def _written(out: Path, paths: Collection[str]) -> Written:
    """The files that were written into a folder; raises as `check` does. The caller is alone."""
    if not os.path.lexists(out / LIST):
        if any(not _STAGING.fullmatch(name) for name in os.listdir(out)):
            raise InputError(
                f"{out} holds something else than a report: it has no list of files, {LIST}; "
                "name another folder (what an earlier version wrote is not replaced)"
            )
        written: Written = {}
    else:
        written = _read(out / LIST)
    for path in paths:
        if obstacle := _obstacle(out, path, written):
            raise InputError(
                f"{obstacle} is in the way: no report wrote it as it is now; move it elsewhere, or "
                "name another folder"
            )
    return written


def write(out: Path, paths: Collection[str], content: Callable[[str], bytes | None]) -> None:
    """Writes a site into a folder, in place of an earlier one.

    Args:
        out: the folder; made if there is none.
        paths: the files of the site.
        content: makes a file; None where there is none.

    Raises:
        InputError: as `check`, or as `content` does. What was there stays as it was.
    """
    made = not _is_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(out):
            _write(out, paths, content)
    finally:
        if made:
            with contextlib.suppress(OSError):  # it is not empty: it was written
                out.rmdir()


def _write(out: Path, paths: Collection[str], content: Callable[[str], bytes | None]) -> None:
    _written(out, paths)
    for name in os.listdir(out):
        if _STAGING.fullmatch(name):  # of a process that was killed: this one is alone here
            shutil.rmtree(out / name, ignore_errors=True)
    staging = out / f".wsss-site-{uuid.uuid4().hex}"
    try:
        staging.mkdir()
        digests = _stage(staging, paths, content)
        earlier = _written(out, digests)  # that took a while, in which a user may have come
        known = {path: (*earlier.get(path, ()), digest) for path, digest in digests.items()}
        _note(out, staging, {**earlier, **known})
        for path in digests:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, out / path)
        for path in earlier.keys() - digests.keys():
            if _holds(out / path, earlier[path]):
                _remove(out, path)
        _note(out, staging, {path: (digest,) for path, digest in digests.items()})
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stage(
    staging: Path, paths: Collection[str], content: Callable[[str], bytes | None]
) -> dict[str, str]:
    """Makes the files of a site and returns their SHA-256 by path."""
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


def _note(out: Path, staging: Path, written: Written) -> None:
    (staging / LIST).write_text(json.dumps(written, indent=0, sort_keys=True) + "\n")
    os.replace(staging / LIST, out / LIST)


def _read(path: Path) -> Written:
    """The list of a site; raises InputError where it is none."""
    if not _is_plain_file(path):
        raise InputError(f"{path} is no list of a report's files; name another folder")
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}; name another folder") from error
    written: Written = record_from_json(row, dict[str, tuple[str, ...]], path)
    for name in written:
        for part in name.split("/"):
            check_id(part)  # so that no path leads out of the folder
    return written


def _is_folder(out: Path) -> bool:
    """Whether the folder is there; raises InputError where it can be neither used nor made."""
    place = out
    while not os.path.lexists(place):
        place = place.parent
    if not place.exists():
        raise InputError(f"{place} is a link that leads nowhere; name another folder")
    if not place.is_dir():
        raise InputError(f"{place} is a file; name a folder for a report")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written into {place}; name another folder")
    return place == out


def _obstacle(out: Path, path: str, written: Written) -> Path | None:
    """What keeps the file `path` of a site from being written."""
    for parent in reversed(list((out / path).relative_to(out).parents)[:-1]):
        place = out / parent
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return place
    place = out / path
    return place if os.path.lexists(place) and not _holds(place, written.get(path, ())) else None


def _is_plain_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _holds(path: Path, digests: Collection[str]) -> bool:
    """Whether a file, itself and not through a link, has one of these SHA-256."""
    return os.path.lexists(path) and _is_plain_file(path) and file_digest(path) in digests


def _remove(out: Path, path: str) -> None:
    """Removes a file, and the folders that are empty then."""
    (out / path).unlink()
    for parent in list(Path(path).parents)[:-1]:
        with contextlib.suppress(OSError):  # another file is in there
            (out / parent).rmdir()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing into a folder meanwhile, where its disk has locks."""
    here = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network's file system may lock no folders
            fcntl.flock(here, fcntl.LOCK_EX)
        yield
    finally:
        os.close(here)
