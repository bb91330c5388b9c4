"""Test of the measurement on one GPU, with tiny sizes where there is no GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from wsss.platform.records.schema import SpeedRecord
from wsss.platform.serialization import typed

SCRIPT = Path(__file__).with_name("gpu.py")
ROOT = Path(__file__).parents[2]
MODULES = {"pyyaml": "yaml", "scikit-image": "skimage"}
"""The modules of packages with another name."""
OURS_ALONE = "boundaries and walks"


def missing_packages():
    """Return the dependencies of this project that the program's command in the docs leaves out."""
    page = (ROOT / "docs/benchmarks.md").read_text()
    (installed,) = re.findall(r"^\$ pip install (.*)$", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", text)[0] for text in project["dependencies"]}
    assert set(installed.split()) < names
    return sorted(names - set(installed.split()))


BARE = """
import runpy, sys
from importlib.machinery import PathFinder


class WithoutMissing(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in sys.argv[2:] else super().find_spec(name, path, target)


# Without the finder of the editable installation, the program has to make the package itself.
others = [f for f in sys.meta_path if f is not PathFinder and "__editable__" not in repr(f)]
sys.meta_path = [*others, WithoutMissing]
sys.path = [sys.argv[1], *(p for p in sys.path[1:] if "__editable__" not in p)]
runpy.run_path(f"{sys.argv[1]}/gpu.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return the table that the program writes, with only the packages that it needs."""
    store = tmp_path_factory.mktemp("store")
    missing = [MODULES.get(name, name) for name in missing_packages()]
    assert "ray" in missing
    words = [sys.executable, "-c", BARE, str(SCRIPT.parent), *missing]
    environment = {"WSSS_STORE": str(store), "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    environment["OMP_NUM_THREADS"] = "1"  # beside other tests, threads would wait for each other
    result = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = (store / "speeds").glob("*.json")
    return typed(SpeedRecord, json.loads(file.read_text()))


def test_the_program_runs_whole_on_a_cpu_and_every_row_is_checked(table):
    stages = [row.stage for row in table.rows]
    for name in ("training step", "class maps", "certain labels", "walk", "k-means"):
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
