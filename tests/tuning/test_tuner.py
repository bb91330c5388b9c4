"""Tests of the runner of sweeps: the record of a sweep in which no point has ended."""

from __future__ import annotations

import pytest
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.schema import SweepRecord, Trial
from wsss.platform.tuning import tuner
from wsss.platform.tuning.objectives import parse_rule, ranking_by
from wsss.platform.tuning.sweep import Sweep


def test_a_sweep_whose_points_all_have_a_stopped_training_says_so():
    """Each of its points lacks a random seed; another --best would not help."""
    trials = tuple(
        Trial(
            id=f"{k:04d}", params={"training.lr": k // 2}, status=status, seconds=1.0, value=0.5,
            seed=k % 2,
        )
        for k, status in enumerate(["done", "stopped", "stopped", "done"])
    )  # fmt: skip
    assert ranking_by(trials, parse_rule("miou")) == []
    record = SweepRecord(
        name="a-sweep", method="cam", dataset="scenes", split="train", space={"training.lr": []},
        default={}, trials=trials, best=None, run=None, command="", digest="d", seconds=2.0,
        started="2026-01-01T00:00:00+0000",
    )  # fmt: skip
    with pytest.raises(
        InputError, match="every point that finished has a stopped training, too, so none can"
    ):
        tuner._checked_record(record)


@pytest.mark.parametrize(
    ("changes", "space", "workers"),
    [
        ({}, {"training.lr": [0.1, 0.2]}, 1),
        ({"refine.training.workers": 2}, {"training.lr": [0.1, 0.2]}, 2),
        ({"refine.training.workers": 2}, {"training.workers": [1, 4]}, 4),
    ],
)
def test_trials_that_run_at_a_time_leave_a_cpu_to_load_rows(monkeypatch, changes, space, workers):
    base = build_experiment("cam", changes={**changes, "refine.kind": "irn"})
    sweep = Sweep(base=base, space=space, concurrent=3)
    for slots, expected in ((1, 1), (8, 3), (None, 3)):
        monkeypatch.setattr(cluster, "training_slots", {workers: slots}.__getitem__)
        assert tuner._most_at_once(sweep) == expected
