"""Fixtures of the dashboard tests: stores with two runs on drawn scenes, and Chromium."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file, in any import mode

from drawn_datasets import HOSTILE_NAMES, Drawn, add_dataset
from drawn_store import add_hostile, add_sweep, drawn_store
from wsss.dashboards.site import Site
from wsss.platform.storage.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with two runs; tests copy it or only read it."""
    root = tmp_path_factory.mktemp("scenes") / "store"
    drawn_store(root, runs=2)
    return root


@pytest.fixture(scope="session")
def few_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with two runs on fewer images."""
    root = tmp_path_factory.mktemp("few") / "store"
    drawn_store(root, train=2, val=3, runs=2)
    return root


@pytest.fixture
def store(scenes: Path, tmp_path: Path) -> Store:
    """Return a store of two runs that a test may change."""
    shutil.copytree(scenes, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def report(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report on a store with hostile records and sweeps of 0, 1 and 500 trials."""
    root = tmp_path_factory.mktemp("everything")
    shutil.copytree(scenes, root / "store")
    store = Store(root / "store")
    add_hostile(store)
    add_dataset(store, "hostile", Drawn(HOSTILE_NAMES))
    add_dataset(store, "bare", Drawn(("cat", "dog"), masks=False))
    for count in (0, 1, 500):
        add_sweep(store, count, f"sweep-{count}")
    add_sweep(store, 24, "failed", fail=lambda k: True)
    return Site(store).write(root / "report").parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield Chromium; skip the test where it is not installed."""
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine (Debian package: chromium)")
    sync = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()
