"""Fixtures of the tests of clusters: hosts on this machine, and a job that runs on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file, in any import mode
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))  # and the job of the fault tests
sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))  # and the pages
from hosts import Network
from small_chain import CHAIN, DATA, Job


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield hosts that are not started yet; they end with the tests of a file."""
    network = Network(tmp_path_factory.mktemp("network"))
    yield network
    network.end()


@pytest.fixture(scope="session")
def on_one_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of the chain as this machine alone computes it."""
    folder = tmp_path_factory.mktemp("alone")
    job = Job(folder / "store", folder / "marks")
    job.run(DATA)
    job.run(CHAIN)
    return folder / "store"
