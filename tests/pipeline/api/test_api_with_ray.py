"""Tests of a method that is defined in a script: workers and trials of Ray know it, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from limits import HANG
from notebook_cells import Cells
from small_jobs import SMALL
from wsss.platform.method import registry

METHOD = """
from wsss.platform.api import (
    Options, Scenes, add, dataclass, find_method, open_sweep, option, register, run, sweep
)


def power(maps, exponent):
    return maps ** exponent


@dataclass(frozen=True, kw_only=True)
class SharpConfig(Options):
    exponent: float = option(2.0, "Power of the class maps.", low=0, high=10)


@register
class Sharp(find_method("cam")):
    name = "sharp"
    trains_as = "cam"
    Config = SharpConfig

    def localize(self, network, images, labels):
        return power(super().localize(network, images, labels), self.settings.exponent)
"""
CALLS = """
print(sorted(set(run("sharp", changes=small, quiet=True).frame["result"])))
space = {"sharp.exponent": [2.0, 3.0]}  # the run made the class maps of 2.0
made = sweep("sharp", space, name="powers", changes=small, quiet=True, concurrent=1)
print(sorted(made.trials["exponent"]), *made.trials["status"], made.trials["error"].isna().all())
print(open_sweep("powers").frame.equals(made.frame), len(made.figure("sensitivity").data) > 0)
"""
PRINTED = ["['cam', 'sharp']", "[2.0, 3.0] done done True", "True True"]
SCRIPT = f"""{METHOD}
add(Scenes(train=16, val=8), "scenes", quiet=True)
small = {{
    "training.epochs": 1, "training.batch_size": 8, "views.scales": [1.0],
    "scoring.splits": ["train"],
}}
{CALLS}"""


@pytest.mark.faults
def test_workers_and_trials_know_a_method_of_the_main_module(
    ray_started: None, job: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network, which is that of CAM, is in the store already."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("WSSS_STORE", str(job.store))
    cells = Cells()
    cells.names["small"] = {**SMALL, "scoring.splits": ["train"]}
    cells.run(METHOD)
    cells.run(CALLS)
    assert capsys.readouterr().out.splitlines() == PRINTED


@pytest.mark.faults
def test_a_script_with_a_method_trains_and_sweeps_and_ends(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PRINTED
