"""Hook of the documentation site that lays out the packages for the pages of the API.

mkdocstrings reads the source of `wsss.platform` at `wsss/platform`, but the repository's root is
the package `wsss`. So a folder of links stands in for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("platform", "methods", "tune_spaces", "dashboards")


def on_startup(**_: Any) -> None:
    """Link the packages into `build/api/wsss` before any plugin looks for them."""
    folder = ROOT / "build" / "api" / "wsss"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
