"""Fixtures of the tests of storages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.object_store import lease
from wsss.platform.storage.object_store.storage import ObjectStorage


@pytest.fixture
def short_leases(monkeypatch):
    """Let leases be renewed and expire in a moment."""
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 1.0)
    monkeypatch.setattr(lease, "POLL", 0.02)


@pytest.fixture(params=["disk", "bucket"])
def storage(request, tmp_path):
    """Return an empty storage, of each kind."""
    if request.param == "disk":
        return LocalStorage(tmp_path / "root")
    return ObjectStorage(request.getfixturevalue("bucket"))


@pytest.fixture
def stage():
    """Return a stage without a computation."""
    return Stage(name="thing", version=1, config={"a": 1}, inputs={"x": "k"}, title="a thing")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Return a function that turns this process into another machine, with its own cache."""

    def go(name="elsewhere"):
        monkeypatch.setenv("WSSS_CACHE", str(tmp_path / name))

    return go
