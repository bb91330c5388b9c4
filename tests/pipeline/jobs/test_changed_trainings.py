"""Tests of trainings whose options change: they begin from checkpoints that the store keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_jobs import SMALL, VAL
from wsss.platform.config.fields import replaced
from wsss.platform.method import build_experiment
from wsss.platform.pipeline import classify
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.planner import plan
from wsss.platform.records.progress_file import METRICS
from wsss.platform.stages.training.ray_train import NETWORK
from wsss.platform.stages.training.trainer import Trainer

TEXTS = ["1: lr=0.02", "2: lr=0.05, weight_decay=0.001"]


def planned(job: Any, changes: list[str]) -> Any:
    few = {**SMALL, "training.epochs": 3, "training.split": "val", "training.batch_size": 4}
    base = build_experiment("cam", preset="scenes", changes=few)
    return plan(replaced(base, {"training.changes": changes}), Catalog.of(job.store))


def checkpoint(execution: Execution, epochs: int) -> Any:
    """Return the artifact of a checkpoint of a training."""
    p = execution.plan
    step = classify.checkpoint(p.context, p.trained, p.beside, epochs)
    return execution.compute(step)[0]


def test_a_checkpoint_is_shared_by_trainings_that_change_later(job: Any) -> None:
    plans = [planned(job, changes) for changes in ([], TEXTS[:1], TEXTS)]
    keys = [
        [classify.checkpoint(p.context, p.trained, p.beside, k).stage.key for k in (1, 2)]
        for p in plans
    ]
    assert keys[0][0] == keys[1][0] == keys[2][0]
    assert keys[0][1] != keys[1][1] == keys[2][1]
    assert len({p.network.key for p in plans}) == 3


@pytest.mark.usefixtures("in_process")
def test_a_training_from_a_checkpoint_equals_one_from_scratch(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = planned(job, TEXTS)
    execution = Execution(job.store, p)
    artifacts, steps = [], list[int]()
    step = next(s for s in p.steps if s.stage.key == p.network.key)
    advance = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda t, b: (steps.append(t.step), advance(t, b))[1])
    for first in (None, 1, 2):
        if first:
            checkpoint(execution, first)
        steps.clear()
        attempt = job.store.storage.new_attempt("network", f"from-{first}")
        execution.runtime.home(step.stage).with_suffix(".jsonl").remove()
        step.compute(execution.runtime, attempt)
        artifacts.append(attempt)
        assert steps[0] == VAL // 4 * (first or 0)
    networks = [torch.load((artifact / NETWORK).local()) for artifact in artifacts]
    for network in networks[1:]:
        assert all(torch.equal(network[name], value) for name, value in networks[0].items())
    assert len({(artifact / METRICS).read() for artifact in artifacts}) == 1
