"""Fixtures of the tests of Ray's start, end and errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from wsss.platform.ray_runtime import cluster


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Start Ray once for all tests of this folder."""
    was_running = ray.is_initialized()
    cluster.connect()
    yield
    if not was_running:
        ray.shutdown()
