"""The job, and what it ends with when nothing goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode
from disturbed import CHAIN, DATA, Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "store", tmp_path / "marks")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the job ends with when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = Job(folder / "store", folder / "marks")
    job.done(DATA)
    job.done(CHAIN)
    assert job.tidy()
    return job.result()
