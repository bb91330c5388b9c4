"""Presets and recipes are typed: mypy finds a misspelt option or choice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = """
from dataclasses import replace

from wsss.methods.lpcam import LPCAMConfig
from wsss.methods.psdpm import PSDPMConfig
from wsss.platform.config.experiment import Experiment, Segment
from wsss.platform.config.presets import Preset, irn_paper


def right(e: Experiment) -> Experiment:
    e = irn_paper(e)
    boundaries = replace(e.refine.training, epochs=4)
    return replace(e, refine=replace(e.refine, training=boundaries, radius=3))


def training(e: Experiment) -> Experiment:
    return replace(e, training=replace(e.training, momentun=0.9))  # wrong


def refine(e: Experiment) -> Experiment:
    boundaries = replace(e.refine.training, epoch=4)  # wrong
    return replace(e, refine=replace(e.refine, training=boundaries))


def recipe(s: Segment) -> Segment:
    return replace(s, stide=8)  # wrong


def choices(s: Segment) -> Segment:
    training = replace(s.training, precision="bf61")  # wrong
    return replace(s, stride=12, crf="deplab", training=training)  # wrong


CONFIGS = (
    PSDPMConfig(source="segmenter"),
    PSDPMConfig(source="segmentor"),  # wrong
    LPCAMConfig(tau="0.1"),  # wrong
    LPCAMConfig("train"),  # wrong
)
PRESETS = {
    "paper": Preset(right, LPCAMConfig(mu_b_low=0.05)),
    "release": Preset(right, LPCAMConfig(mu_b_lo=0.05)),  # wrong
    "default": Preset(recipe),  # wrong
}
"""
CONFIG = """
[mypy]
explicit_package_bases = True

[mypy-torch.*,torchvision.*,timm.*,numpy.*,scipy.*,skimage.*,faiss.*,ray.*,pyarrow.*,PIL.*,pydensecrf.*,rich.*]
follow_imports = skip
follow_imports_for_stubs = True
ignore_missing_imports = True
"""
"""Configuration of mypy; it skips the large libraries, so that mypy takes only seconds."""


def test_mypy_finds_a_misspelt_option_or_choice(tmp_path: Path) -> None:
    (tmp_path / "types").mkdir()
    (tmp_path / "types/wsss").symlink_to(ROOT)
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "mine.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": "types"},
        capture_output=True,
        text=True,
    )
    lines = {int(n) for n in re.findall(r"^mine\.py:(\d+): error", done.stdout, re.MULTILINE)}
    wrong = {n for n, line in enumerate(SOURCE.splitlines(), 1) if line.endswith("# wrong")}
    assert lines == wrong, done.stdout + done.stderr
