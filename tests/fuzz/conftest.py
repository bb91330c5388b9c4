"""Fixture of the fuzz tests: a folder for input, outside of which no file may appear."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode


@pytest.fixture(scope="module")
def given_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield an empty, nested folder; fail if a test leaves a file outside of it."""
    base = tmp_path_factory.mktemp("fuzz")
    folder, working = base / "deep" / "deeper" / "given", base / "here"
    folder.mkdir(parents=True)
    working.mkdir()
    before = Path.cwd()
    os.chdir(working)
    yield folder
    os.chdir(before)
    outside = [p for p in base.rglob("*") if p.is_file() and not p.is_relative_to(folder)]
    assert outside == []
