"""Fixtures of the fault tests: a job, and the artifacts of an undisturbed job."""

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
    """Return the artifacts of a job in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = Job(folder / "store", folder / "marks")
    job.run(DATA)
    job.run(CHAIN)
    assert job.tidy()
    return job.result()
