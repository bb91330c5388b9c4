"""Test of the measurement on one GPU, with tiny sizes where there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from wsss.platform.records.schema import SpeedRecord
from wsss.platform.serialization import typed

SCRIPT = Path(__file__).with_name("gpu.py")
OURS_ALONE = "boundaries and walks"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return the table that the program writes, run without an installation of the package."""
    store = tmp_path_factory.mktemp("store")
    # Without the finder of the editable installation, the program has to make the package itself.
    code = (
        "import runpy, sys; "
        "sys.meta_path = [f for f in sys.meta_path if '__editable__' not in repr(f)]; "
        "sys.path = [p for p in sys.path if '__editable__' not in p]; "
        f"sys.argv = [{str(SCRIPT)!r}]; sys.path[0] = {str(SCRIPT.parent)!r}; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    environment = {"WSSS_STORE": str(store), "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = (store / "speeds").glob("*.json")
    return typed(SpeedRecord, json.loads(file.read_text()))


def test_the_program_runs_whole_on_a_cpu_and_every_row_is_checked(table):
    stages = [row.stage for row in table.rows]
    for name in ("training step", "class maps", "certain labels", "walk", "k-means", "mIoU"):
        assert any(name in stage for stage in stages), stages
    for row in table.rows:
        assert row.ours > 0
        assert row.difference <= row.allowed
        assert row.memory is None
        assert (row.peer is None) == row.stage.startswith(OURS_ALONE)


def test_results_in_bfloat16_differ_from_the_reference(table):
    """A difference of zero would mean that a result is compared with itself."""
    rows = [row for row in table.rows if "bf16" in row.stage]
    assert len(rows) == 3
    assert all(row.difference > 0 for row in rows)
