"""Fixtures of the tests of storages."""

from __future__ import annotations

import pytest
from wsss.platform.storage.object_store import lease


@pytest.fixture
def quick(monkeypatch):
    """Let leases be renewed and expire in a moment."""
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 1.0)
    monkeypatch.setattr(lease, "POLL", 0.02)
