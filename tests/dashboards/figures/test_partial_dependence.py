"""Tests of the partial dependence of a sweep's objective."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from drawn_records import make_sweep, make_trials
from wsss.dashboards.figures.partial_dependence import partial_dependences, seed_variance
from wsss.dashboards.figures.sensitivity import sensitivity
from wsss.platform.records.schema import Trial

LR, NAMES = "training.lr", ("training.lr", "lpcam.tau", "lpcam.K")


def trials(count: int, noise: float = 0.0) -> list[Trial]:
    """Return trials whose objective is a sum of a wave over `log(lr)`, and a step over K."""
    rng = np.random.default_rng(1)
    out = []
    drawn = make_trials(count, fail=lambda k: False)
    for trial, (a, b) in zip(drawn, rng.random((count, 2)), strict=True):
        params = {
            LR: float(10 ** (-3 + 2 * a)),
            "lpcam.tau": float(b),
            "lpcam.K": 12 if a + b > 1 else 6,
        }
        value = objective(params) + noise * rng.standard_normal()
        out.append(dataclasses.replace(trial, params=params, value=value))
    return out


def objective(params: dict[str, Any]) -> float:
    wave = math.sin(3 * math.log10(params[LR]))
    return 0.5 + 0.05 * wave + 0.02 * (params["lpcam.K"] == 12)


def test_the_interval_contains_the_true_dependence() -> None:
    """K varies with the other parameters, and still only the wave belongs to the learning rate."""
    drawn = trials(80, noise=0.002)
    curve = partial_dependences(drawn, NAMES, [LR])[LR]
    steps = [0.02 * (t.params["lpcam.K"] == 12) for t in drawn]
    truth = np.array([0.5 + 0.05 * math.sin(3 * math.log10(x)) for x in curve.x]) + np.mean(steps)
    error = np.abs(curve.mean - truth)
    assert error.max() < 0.01 < np.ptp(curve.mean)
    assert np.mean(error <= 1.96 * curve.deviation + 0.002) > 0.9
    flat = partial_dependences(drawn, NAMES, [LR])["lpcam.tau"]
    assert np.ptp(flat.mean) < 0.01
    assert set(partial_dependences(drawn, NAMES)) == {LR, "lpcam.tau"}, "K has two values"


def test_repeats_are_the_noise_of_the_process() -> None:
    """With the noise of repeats, an interval is wider than where the likelihood finds none."""
    drawn = trials(30)
    loud = [
        dataclasses.replace(trial, seed=seed, value=(trial.value or 0) + sign * 0.03)
        for trial in drawn
        for seed, sign in ((0, -1), (1, 1))
    ]
    assert seed_variance(drawn) is None
    assert seed_variance([*drawn, *drawn]) is None, "twice the same random seed"
    assert seed_variance(loud) == pytest.approx(2 * 0.03**2)
    quiet = partial_dependences(drawn, NAMES, [LR])[LR]
    assert partial_dependences(loud, NAMES, [LR])[LR].deviation.mean() > quiet.deviation.mean()


def test_few_or_equal_trials_have_no_curve() -> None:
    drawn = trials(40)
    assert partial_dependences(drawn[:7], NAMES) == {}
    assert partial_dependences([dataclasses.replace(t, value=0.5) for t in drawn], NAMES) == {}


def test_continuous_panels_show_trials_curve_and_interval() -> None:
    drawn = trials(500)
    space = {LR: {"loguniform": [0.001, 0.1]}, "lpcam.tau": {"uniform": [0, 1]}, "lpcam.K": [6, 12]}
    record = dataclasses.replace(
        make_sweep(0), space=space, default=drawn[0].params, trials=tuple(drawn)
    )
    figure = sensitivity(record)
    assert len(json.dumps(figure)) < 300_000
    names = [trace["name"] for trace in figure["data"] if trace["showlegend"]]
    assert names[:3] == ["interval of 95 %", "trial", "partial dependence"]
    assert len(set(names)) == len(names)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert figure["layout"]["xaxis"]["dtick"] == 1, "small screens have room for decades only"
    assert "type" not in figure["layout"]["xaxis2"]
    assert figure["layout"]["xaxis3"]["tickvals"] == [6, 12]
