"""Tests of one trial of a sweep, without the computation of its stages."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from wsss.platform.pipeline import classify
from wsss.platform.tuning import trial

NETWORK = SimpleNamespace(name="network", key="n" * 64)
RUNG = SimpleNamespace(stage=SimpleNamespace(name="rung", key="r" * 64))


class Execution:
    """An execution that notes what it is told to do."""

    def __init__(self, held):
        training = SimpleNamespace(epochs=4)
        self.plan = SimpleNamespace(
            network=NETWORK, context=None, trained=None, beside=None,
            experiment=SimpleNamespace(training=training),
        )  # fmt: skip
        self.store, self.held, self.events = self, held, []

    def execute(self, before):
        self.events.append(f"before {before.name}")

    def compute(self, step):
        self.events.append(f"compute {step.stage.name}")

    def find(self, stage, key):
        return self.held

    @contextmanager
    def lock(self, name):
        self.events.append("wait" if name == NETWORK.key else name)
        yield
        self.events.append("free")


@pytest.mark.parametrize(("held", "waits"), [(False, ["wait", "free"]), (True, [])])
def test_a_rung_waits_for_the_training_of_another_trial_before_it_is_timed(
    monkeypatch, held, waits
):
    """The seconds of a stage, and so the budget of a sweep, run once its computation has begun."""
    monkeypatch.setattr(classify, "rung", lambda *arguments: RUNG)
    monkeypatch.setattr(trial, "_score_of", lambda *arguments: "score")
    execution = Execution(held)
    assert trial.score_rung(execution, "train", 2, train=True) == "score"
    assert execution.events == ["before network", *waits, "compute rung"]
