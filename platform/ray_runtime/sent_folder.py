"""The folder that Ray sent to this machine with a job, by `ray job submit --working-dir`."""

from __future__ import annotations

import json
import os
from pathlib import Path

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable in which Ray describes the job that runs a command."""
MOST_NAMES = 4
"""Most files that the description names, the largest ones first."""


def description() -> str:
    """Return a sentence on the files that Ray sent, with their size; empty without such a folder.

    Ray makes the folder the current one. Byte code that Python has written there is left out.
    """
    job = json.loads(os.environ.get(JOB) or "{}")
    if not job.get("runtime_env", {}).get("working_dir"):
        return ""
    folder = Path.cwd()
    paths = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in paths}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    named = [f"{name} {_text(sizes[name])}" for name in names[:MOST_NAMES]]
    if len(names) > MOST_NAMES:
        named.append(f"{len(names) - MOST_NAMES} more")
    count = f"{len(names)} file{'s' * (len(names) != 1)}"
    return f"Ray sent {count} of {_text(sum(sizes.values()))} with this job: {', '.join(named)}"


def _text(size: int) -> str:
    """Return a number of bytes as text."""
    if size < 1e3:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
