"""A folder that readers are given, and a look at whether anything appeared beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode


@pytest.fixture(scope="module")
def given_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, deep in another; a test that leaves a file elsewhere in that fails."""
    base = tmp_path_factory.mktemp("fuzz")
    folder, here = base / "deep" / "deeper" / "given", base / "here"
    folder.mkdir(parents=True)
    here.mkdir()
    before = Path.cwd()
    os.chdir(here)
    yield folder
    os.chdir(before)
    outside = [p for p in base.rglob("*") if p.is_file() and not p.is_relative_to(folder)]
    assert outside == []
