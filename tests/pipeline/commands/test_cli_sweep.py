"""Tests of the command `wsss sweep`: what users type, and what it prints."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from recording_tracker import Recorder
from small_jobs import SMALL_WORDS, TRAIN, VAL
from wsss.platform.trackers import opening
from wsss.platform.tuning.journal import Journal
from wsss.tune_spaces import lpcam

BUDGET = ("--search", "eipu", "--budget", "7 stages", "--concurrent", "1")
THREE = ("sweep", "lpcam", *SMALL_WORDS, "--trials", "9", *BUDGET, "--name", "three")
"""A sweep of three trials: each computes three stages, and nine are more than its budget."""


@pytest.mark.cluster
def test_sweep_reports_the_best_and_repeats_nothing(
    trials_in_process: None, wsss: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_api_with_ray.py` runs a sweep whose trials compute stages in Ray's workers."""
    monkeypatch.setattr(opening, "KINDS", (Recorder,))
    monkeypatch.setattr(Recorder, "events", [])
    code, out, _ = wsss(*THREE, "--log", "recorder")
    assert code == 0
    started = [event[1] for event in Recorder.events if event[0] == "start"]
    assert [run.sweep for run in started] == ["", "three", "three", "three", "", ""]
    assert started[0].fields["training.epochs"] == started[1].fields["training.epochs"] == 2
    assert [event[1] for event in Recorder.events if event[0] == "end"] == ["done"] * 6
    assert "3 of 3 trials" in out
    assert "chosen on train: tau" in out
    assert "at most 9 trials, or 7 stages of new computation, chosen during the sweep; what" in out
    assert "tau: centers, similarities, scores\n" in out
    assert re.search(r"; computed 9 stages in \d+ s of a budget of 7 stages\n", out)
    assert f"untuned on val (n={VAL})" in out
    assert f"tuned on val (n={VAL})" in out
    page = job.store.location("sweeps/three/page/sweep.three.html").read().decode()
    for title in ("LPCAM, untuned", "LPCAM, tuned", "Untuned run"):
        assert title in page
    code, out, _ = wsss(*THREE)
    assert code == 0
    assert "nothing to do, its 3 trials are already in the store" in out
    file = job.store.location("sweeps/three/experiment.yaml")
    code, out, _ = wsss("sweep", str(file), "--name", "three", "--quiet")
    assert code == 0
    assert "nothing to do, its 3 trials are already in the store" in out
    best = job.store.location("sweeps/three/best.yaml")
    code, out, _ = wsss("run", str(best), "--quiet")
    assert code == 0
    assert re.search(r"run lpcam-scenes-\w+: nothing to do", out)
    code, _, err = wsss("sweep", "lpcam", *SMALL_WORDS, "--trials", "2", "--name", "three")
    assert code == 2
    assert "'three' is taken" in err


def test_a_sweep_over_combinations_names_the_best_combination(
    trials_without_ray: None, wsss: Any, tmp_path: Path
) -> None:
    space = tmp_path / "mine.py"
    space.write_text("SPACES = {'all': {'combination': ['lpcam']}}")
    command = ("sweep", "cam", *SMALL_WORDS, "--space", str(space), "--name", "combined")
    code, out, _ = wsss(*command, "--page", str(tmp_path / "page"))
    assert code == 0
    assert "1 trials: to compute nothing; in the store 1 network" in out
    rows = dict(
        line.split(f" on val (n={VAL})") for line in out.splitlines() if f"(n={VAL})" in line
    )
    assert {"untuned", "tuned"} <= set(rows)
    assert rows["tuned"] != rows["untuned"]
    assert "lpcam, tuned" in (tmp_path / "page" / "sweep.combined.html").read_text()
    code, _, err = wsss(*command, "--imported", "theirs")
    assert code == 2
    assert "leave out --imported" in err


def test_a_papers_figure_is_a_table_beside_the_papers_numbers(
    trials_without_ray: None, wsss: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = {
        "tau": [(0.1, {"lpcam.tau": 0.1}, 65.3), (0.4, {"lpcam.tau": 0.4}, None)],
        "mu_f": [(0.9, {"lpcam.mu_f": 0.9}, 65.3)],
    }
    monkeypatch.setitem(lpcam.FIGURES, "5", {**lpcam.FIGURES["5"], "panels": panels})
    command = ("figure", "lpcam-5", *SMALL_WORDS, "--name", "figure", "--split", "train")
    code, out, _ = wsss(*command)
    assert code == 0
    first, table = out.split("\n", 1)
    assert first.startswith("3 trials: to compute 1 centers, 1 similarities, 1 scores; in ")
    rows = dict(re.findall(r"^(\S+: [\d.]+) +(\S+ +\S+)$", table, re.MULTILINE))
    trials = Journal(job.store, "figure").trials()
    values = {tuple(t.params.values()): 100 * t.value for t in trials}
    assert {name: text.split() for name, text in rows.items()} == {
        "tau: 0.1": [f"{values[0.1,]:.1f}", "65.3"],
        "tau: 0.4": [f"{values[0.4,]:.1f}", "-"],
        "mu_f: 0.9": [f"{values[0.9,]:.1f}", "65.3"],
    }
    assert f"here: train of scenes, seeds 0, n={TRAIN}, 7 classes, best threshold; " in table
    assert "; unless a row says otherwise: mu_f 0.9, tau 0.1\n" in table
    assert job.store.location("sweeps/figure/page/sweep.figure.html").exists()
    assert wsss(*command)[:2] == (0, table)


@pytest.mark.faults
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_whose_driver_is_killed_resumes(
    ray_started: None, wsss: Any, job: Any, tmp_path: Path, end: signal.Signals
) -> None:
    """The resumed sweep has the trials of an uninterrupted one: the first ten points of TPE are
    drawn, and TPE suggests the same points after them."""
    space = tmp_path / "mine.py"
    values = {"lpcam.mu_f": [0.5, 0.7, 0.9], "lpcam.mu_b": [0.3, 0.5, 0.7, 0.9]}
    space.write_text(f"SPACES = {{'all': {values}}}")
    command = ("sweep", "lpcam", *SMALL_WORDS, "--space", str(space), "--search", "tpe", "--trials")
    killed, whole_one = f"killed-{end.name}", f"whole-{end.name}"
    record = Journal(job.store, killed)
    words = [*command, "14", "--name", killed, "--store", str(job.store)]
    with subprocess.Popen([sys.executable, "-m", "wsss.platform.cli", *words]) as driver:
        while driver.poll() is None and not record.trials():
            time.sleep(0.05)
        driver.send_signal(end)
    assert driver.returncode == (130 if end == signal.SIGINT else -end)
    assert not record.path.exists()
    lines = record.lines.read().decode()
    lines = lines[: lines.rindex("\n") + 1]
    assert 0 < lines.count("\n") < 14
    code, _, err = wsss(*command, "14", "--name", killed)
    assert code == 2
    assert f"was broken off after {lines.count(chr(10))} of 14 trials; --resume goes on" in err
    code, _, err = wsss(*command, "9", "--name", killed, "--resume")
    assert code == 2
    assert f"{killed!r} is taken" in err
    code, out, _ = wsss(*command, "14", "--name", killed, "--resume")
    assert code == 0
    assert "14 of 14 trials" in out
    assert set(lines.splitlines()) <= set(record.lines.read().decode().splitlines())
    assert wsss(*command, "14", "--name", whole_one)[0] == 0
    resumed, whole = record.trials(), Journal(job.store, whole_one).trials()
    assert [t.id for t in resumed] == [f"{k:04d}" for k in range(14)]
    assert [(t.params, t.value) for t in resumed] == [(t.params, t.value) for t in whole]
