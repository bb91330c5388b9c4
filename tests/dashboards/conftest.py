"""Fixtures of drawn records; the builders are in drawn_records.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode

from drawn_records import make_layers, make_run, make_sweep
from wsss.dashboards.layers import ImageLayers
from wsss.platform.runs import RunRecord, SweepRecord


@pytest.fixture
def run() -> RunRecord:
    return make_run()


@pytest.fixture
def sweep() -> SweepRecord:
    return make_sweep()


@pytest.fixture
def layers() -> ImageLayers:
    return make_layers()
