"""The folder with the files of Ray that one command starts; the folders of dead commands expire."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from ..storage import filesystem

PREFIX, LOCK, KEPT = "wsss-", "lock", "kept"
"""Prefix of the folder's name; name of the file in it that the command keeps locked while it lives;
name of this file once the folder is kept after a crash."""
NAME = re.compile(f"{PREFIX}[a-z0-9_]{{8}}")
"""Names that `tempfile.mkdtemp` gives to a folder with this prefix."""
MAX_BYTES = 21
"""Longest path, in bytes, of the folder for temporary files; Ray's socket names are limited."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""Seconds for which a folder is kept after a crash."""


def make() -> tuple[Path, int]:
    """Make a folder for Ray's files and lock it; remove folders of dead commands.

    Removed are the folders of commands that were killed, and those that were kept after a crash for
    longer than `KEPT_SECONDS`.

    Returns:
        The folder, and the file descriptor that holds its lock while this process lives.
    """
    candidates = (os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp")
    paths = [os.path.abspath(path) for path in candidates if path]
    base = next(Path(path) for path in paths if len(os.fsencode(path)) <= MAX_BYTES)
    base.mkdir(parents=True, exist_ok=True)
    for folder in base.glob(f"{PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    lock = os.open(folder / "new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "new").rename(folder / LOCK)  # so that no other process sees it unlocked
    return folder, lock


def keep(folder: Path) -> None:
    """Keep a folder of this process after a crash, until `KEPT_SECONDS` after this call.

    The descriptor of the lock must stay open until this process ends."""
    with contextlib.suppress(OSError):
        (folder / LOCK).touch()
        (folder / LOCK).rename(folder / KEPT)


def remove(folder: Path, lock: int) -> None:
    """Remove a folder of this process and release its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _is_abandoned(folder: Path) -> bool:
    """Return whether a folder was made by a command of this user that has ended, and may go."""
    try:
        status = folder.lstat()
        is_ours = status.st_uid == os.getuid() and not folder.is_symlink() and folder.is_dir()
        if not is_ours or not NAME.fullmatch(folder.name):
            return False
        lock, kept = folder / LOCK, folder / KEPT
        if kept.is_file():
            is_expired = time.time() - kept.lstat().st_mtime > KEPT_SECONDS
            return is_expired and not filesystem.is_locked(kept)
        return lock.is_file() and not filesystem.is_locked(lock)
    except OSError:
        return False
