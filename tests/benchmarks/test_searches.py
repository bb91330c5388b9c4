"""Tests of the comparison of searches, with trials that compute nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import searches
from wsss.platform.method import build_experiment
from wsss.platform.records.schema import StageRecord
from wsss.platform.tuning.search import Need
from wsss.platform.tuning.sweep import Sweep

VALUES = {0.1: 0.3, 0.2: 0.5, 0.3: None, 0.4: 0.4}
"""mIoU by `lpcam.tau`; the trial without a value fails."""
SECONDS = 7.0
"""Seconds of the stage that each point needs of its own."""


@pytest.fixture
def sweep():
    space = {"lpcam.tau": [*VALUES]}
    return Sweep(base=build_experiment("lpcam"), space=space, kind="random", budget="100s")


@pytest.fixture
def needed(sweep):
    """The stages of the sweep's points, as `NeededStages` gives them."""

    def key(point):
        return f"maps-{point['lpcam.tau']}"

    def computed(point, seed):
        row = {"stage": "maps", "title": "maps", "seconds": SECONDS, "cached": False}
        return (StageRecord(key=key(point), **row),)

    return SimpleNamespace(
        sweep=sweep,
        needs=lambda point: (Need(key(point), "maps", "maps"),),
        held=lambda: (),
        computed=computed,
        lost=lambda trial, ended, earlier: StageRecord(
            stage="failed", title="failed trial", key=trial.id, seconds=0.0, cached=False
        ),
    )


def test_a_curve_has_the_seconds_spent_and_the_best_value_after_each_trial(
    sweep, needed, monkeypatch, capsys
):
    points = []

    def run(catalog, sweep, point, seed, report):
        points.append(point["lpcam.tau"])
        value = VALUES[point["lpcam.tau"]]
        error = None if value is not None else "no masks"
        return {"value": value, "score": None, "error": error, "cached": False, "seconds": 1.0}

    monkeypatch.setattr(searches.trial, "run", run)
    curve = searches.carried_out(None, sweep, needed, search_seed=0)
    assert {*points} == {*VALUES}
    best, spent, known = 0.0, 0.0, set()
    for point, (seconds, value) in zip(points, curve, strict=True):
        best = max(best, VALUES[point] or 0.0)
        assert value == best
        assert seconds >= spent + SECONDS * (point not in known)
        spent, known = seconds, {*known, point}
    assert "no masks" in capsys.readouterr().out


def test_curves_are_read_at_a_time_and_at_a_value():
    curve = [(2.0, 0.3), (5.0, 0.3), (6.0, 0.5)]
    assert [searches.best_at(curve, t) for t in (1, 2, 5.5, 6)] == [0.0, 0.3, 0.3, 0.5]
    assert [searches.time_to(curve, v) for v in (0.2, 0.4, 0.6)] == [2.0, 6.0, float("inf")]
    lines = searches.table({"tpe": [curve], "random": [[(8.0, 0.4)]]}, 8.0, "tpe")
    assert [line.split()[0] for line in lines] == ["search", "tpe", "random"]
    assert lines[1].split()[-1] == "0.75"
    assert lines[2].split()[-1] == "inf"
