"""Tests of the learning rate over a training."""

from __future__ import annotations

import math

import pytest
from wsss.platform.config.groups.training import Training
from wsss.platform.method import build_experiment
from wsss.platform.stages.training.schedule import learning_rate

STEPS = 165
"""Steps of an epoch of VOC's train_aug, in batches of 64."""


def test_the_rates_of_mctformer_are_those_of_its_code():
    """Rates that its code prints: the first epoch's twice, the peak, and the last epoch's."""
    training = build_experiment("mctformer", preset="release").training
    rates = [learning_rate(training.lr, training, e * STEPS, STEPS) for e in range(60)]
    assert rates[:2] == [1e-6, 1e-6]
    assert rates[2] == pytest.approx(1.33e-5)
    assert rates.index(max(rates)) == 6
    assert rates[6] == pytest.approx(6.16e-5, abs=5e-8)
    assert rates[-1] == pytest.approx(1.01e-5, abs=5e-8)
    assert rates[6:] == sorted(rates[6:], reverse=True)
    for epoch in (0, 7, 59):
        last_step = epoch * STEPS + STEPS - 1
        assert learning_rate(training.lr, training, last_step, STEPS) == rates[epoch]


def test_heads_keep_their_ratio_to_the_backbone():
    training = Training(schedule="deit", lr=1e-3, epochs=20)
    for step in (0, 50, 199):
        backbone = learning_rate(1e-3, training, step, 10)
        assert learning_rate(1e-2, training, step, 10) == pytest.approx(10 * backbone)
    assert learning_rate(0.0, Training(schedule="deit", lr=0.0), 3, 10) == 0.0
    ended = Training(schedule="deit", lr=1e-3, changes=("2: lr=0",)).at(2)
    assert learning_rate(1e-3, ended, 25, 10) == 0.0
    assert learning_rate(0.0, training, 25, 10) == 0.0


def test_the_polynomial_decays_at_every_step_after_its_warm_up():
    training = Training(lr=0.1, epochs=2, power=0.9, warm_up=4)
    for step in range(20):
        expected = 0.1 * math.pow(1 - step / 20, 0.9) * min(1.0, (step + 1) / 4)
        assert learning_rate(0.1, training, step, 10) == pytest.approx(expected)
