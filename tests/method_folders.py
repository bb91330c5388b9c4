"""Folders that declare methods, entered as a new process would enter them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wsss.platform.method import registry


@contextlib.contextmanager
def method_folder(folder: Path, module: str) -> Iterator[None]:
    """Enter a folder whose `pyproject.toml` declares methods of a module.

    No method of the folder is known at first, and none is known afterwards."""

    def forget() -> None:
        sys.modules.pop(module, None)
        registry._declared.cache_clear()
        registry._entry_points.cache_clear()
        registry._installed.cache_clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(sys, "dont_write_bytecode", True)
        for known in ("_registered", "_loaded", "_sent"):
            patch.setattr(registry, known, {})
        patch.setattr(registry, "_folder_is_read", False)
        forget()
        try:
            yield
        finally:
            forget()
