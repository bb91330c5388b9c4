"""The folder that Ray sent to this machine with a job, by `ray job submit --working-dir`."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable in which Ray describes the job that runs a command."""
UNPACKED = "working_dir_files"
"""Name of the folder in which Ray unpacks the folders that it sends."""
MOST_NAMES = 4
"""Most files that the description names, the largest ones first."""


def description() -> str:
    """Return a sentence on the files that Ray sent, with their size.

    It is empty where Ray sent no folder, or the current folder lies outside of it. Byte code that
    Python has written into the folder is left out.
    """
    job = json.loads(os.environ.get(JOB) or "{}")
    folder = _sent_folder() if job.get("runtime_env", {}).get("working_dir") else None
    if folder is None:
        return ""
    sizes = _sizes(folder)
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    named = [f"{name} {_text(sizes[name])}" for name in names[:MOST_NAMES]]
    if len(names) > MOST_NAMES:
        named.append(f"{len(names) - MOST_NAMES} more")
    count = f"{len(names)} file{'s' * (len(names) != 1)}"
    return f"Ray sent {count} of {_text(sum(sizes.values()))} with this job: {', '.join(named)}"


def _sent_folder() -> Path | None:
    """Return the folder that Ray unpacked and that the current folder lies in, or None."""
    with contextlib.suppress(OSError):  # the current folder may have been removed
        folder = Path.cwd()
        for path in (folder, *folder.parents):
            if path.parent.name == UNPACKED:
                return path
    return None


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file by its path in a folder; files that cannot be read are left out.

    Args:
        folder: folder with subfolders.
    """
    sizes: dict[str, int] = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):
                if path.is_file() and "__pycache__" not in path.parts:
                    sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def _text(size: int) -> str:
    """Return a number of bytes as text."""
    if size < 1e3:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
