"""Tests of the check that each option has an effect on an experiment of its command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from wsss.platform.cli import resolve
from wsss.platform.cli.options.experiment_options import CompareOptions, SweepOptions
from wsss.platform.cli.options.used import KINDS_BY_FIELD, UNREFINED, check_used
from wsss.platform.cli.parser import parse
from wsss.platform.config.experiment import Refine
from wsss.platform.config.fields import fields_of
from wsss.platform.data import registry
from wsss.platform.errors import InputError
from wsss.platform.storage.store import Store

NOWHERE = Store("none")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of the test, with data sets that no store holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        registry, "open_dataset", lambda store, name: SimpleNamespace(about={"source": name})
    )


def check(words: str) -> None:
    """Check the options of a command as the command does."""
    options = parse(words.split())
    if isinstance(options, SweepOptions):
        _, sweep = resolve.sweep(options, NOWHERE)
        check_used(options, [sweep.base, *sweep.bases.values()], sweep.domains)
    elif isinstance(options, CompareOptions):
        variants = [
            {**resolve.parse_combination(text), "refine": kind}
            for text in options.methods
            for kind in options.refinements or ("",)
        ]
        check_used(options, [resolve.experiment(options, NOWHERE, 0, **v) for v in variants])
    else:
        check_used(options, [resolve.experiment(options, NOWHERE, 0)])


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("compare psdpm cam --baseline lpcam --set lpcam.tau=0.2", True),
        (
            "compare psdpm@lpcam cam --set baseline.lpcam.tau=0.2 --set baseline.training.epochs=3",
            True,
        ),
        ("compare psdpm@sipe+lpcam cam --set baseline.sipe.weight=0.5", True),
        ("compare cam sipe:lpcam --set lpcam.tau=0.2", True),
        ("compare cam sipe --set lpcam.tau=0.2", False),
        ("compare cam sipe --baseline lpcam", False),
        ("compare psdpm@cam sipe --baseline lpcam", False),
        ("compare cam lpcam --set baseline.lpcam.tau=0.2", False),
    ],
)
def test_an_option_for_several_methods_must_be_used_by_one(words: str, fits: bool) -> None:
    if fits:
        check(words)
    else:
        with pytest.raises(InputError, match=r"no method here .*; leave it out"):
            check(words)


SPACES = """
SPACES = {
    "kinds": {"refine.kind": ["", "par"]},
    "groups": {"refiner": [{"refine.kind": "crf"}, {"refine.kind": "par", "refine.par.steps": 5}]},
    "segmenters": {"segment.network": ["", "upernet"]},
    "methods": {"combination": ["cam", "psdpm@lpcam"]},
    "weights": {"network.weights": [None, "a.pth"]},
}
"""
NO_SEGMENTER = "no segmenter is trained here; name one with --segment"
NO_REFINEMENT = "nothing is refined here; name a refinement with --refine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run cam --set segment.crf=deeplab", NO_SEGMENTER),
        ("run cam --refine irn --set segment.training.epochs=3", NO_SEGMENTER),
        ("run cam --segment upernet --set segment.training.epochs=3", ""),
        ("run cam --set segment.network=upernet --set segment.crf=deeplab", ""),
        ("run psdpm --baseline lpcam --set segment.training.epochs=3", ""),
        ("run psdpm --baseline lpcam --set baseline.segment.training.epochs=3", ""),
        ("compare cam psdpm@lpcam --set segment.backbone=resnet101", ""),
        ("sweep lpcam --space s.py:segmenters --set segment.crf=deeplab", ""),
        ("sweep lpcam --space s.py:methods --set segment.training.epochs=3", ""),
        ("sweep lpcam --space s.py:kinds --set segment.crf=deeplab", NO_SEGMENTER),
        ("run cam --set refine.par.steps=3", NO_REFINEMENT),
        ("run cam --segment upernet --set refine.training.epochs=9", NO_REFINEMENT),
        ("run cam --set refine.crf_backend=torch", NO_REFINEMENT),
        ("run cam --segment upernet --set refine.crf_backend=torch", ""),
        ("run cam --set refine.threshold=0.3", ""),
        ("run cam --set refine.kind=irn --set refine.training.epochs=9", ""),
        ("run cam --refine crf --set refine.final=0.3", ""),
        ("run cam --refine irn --set refine.par.steps=3", "no refinement here is par"),
        ("run cam --refine irn --set refine.crf=psa", "no refinement here is crf"),
        ("run cam --refine par --set refine.power=2", "no refinement here is crf or irn"),
        ("run psdpm --baseline lpcam --refine irn --set refine.training.epochs=9", ""),
        ("run psdpm --baseline cam --set baseline.refine.kind=irn --set refine.steps=9", ""),
        ("run psdpm --baseline cam --set baseline.refine.steps=9", NO_REFINEMENT),
        (
            "run psdpm --baseline cam --refine irn --set baseline.refine.par.steps=9",
            "no refinement here is par",
        ),
        ("compare cam --refine crf par --set refine.par.steps=3", ""),
        ("compare cam --refine crf irn --set refine.par.steps=3", "no refinement here is par"),
        ("sweep lpcam --space s.py:kinds --set refine.par.steps=3", ""),
        ("sweep lpcam --space s.py:kinds --set refine.steps=3", "no refinement here is irn"),
        ("sweep lpcam --space s.py:groups --set refine.crf=psa", ""),
        ("run file.yaml", ""),
        ("run file.yaml --set refine.par.steps=4", NO_REFINEMENT),
        ("run cam --weights-key x", "has no effect without network.weights; name their file"),
        ("run key.yaml", "has no effect without network.weights; name their file"),
        ("run key.yaml --weights a.pth", ""),
        (
            "run cam --segment upernet --set segment.weights_key=x",
            r"^segment.weights_key has no effect without segment.weights; name their file",
        ),
        (
            "run cam --segment upernet --set segment.weights_key=x --set segment.weights=a.pth",
            "",
        ),
        ("sweep key.yaml --space s.py:weights", ""),
    ],
)
def test_a_field_of_a_stage_that_does_not_run_is_refused(words: str, message: str) -> None:
    Path("s.py").write_text(SPACES)
    Path("file.yaml").write_text("method: cam\nrefine.par.steps: 3\nsegment.crf: deeplab\n")
    Path("key.yaml").write_text("method: cam\nnetwork.weights_key: teacher\n")
    if not message:
        check(words)
        return
    with pytest.raises(InputError, match=message):
        check(words)


def test_the_fields_of_refinements_exist() -> None:
    assert {*KINDS_BY_FIELD, *UNREFINED} <= {*fields_of(Refine)}
