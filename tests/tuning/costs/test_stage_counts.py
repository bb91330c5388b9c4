"""Tests of what is counted before the trials of a sweep begin."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from wsss.platform.errors import InputError, StorageError
from wsss.platform.method import build_experiment
from wsss.platform.tuning.costs import stage_counts
from wsss.platform.tuning.costs.stage_counts import kept_bytes
from wsss.platform.tuning.sweep import Sweep

BYTES = {"cam": 0, "lpcam": 3000, "sipe": 1000}
"""Memory that the process of a trial keeps, by method."""


def sweep_of(*methods):
    """Return a sweep over methods, whose base is the first one."""
    bases = {method: build_experiment(method) for method in methods}
    space = {"combination": [*methods]} if len(methods) > 1 else {"views.scales": [(1.0,)]}
    return Sweep(base=bases[methods[0]], space=space, bases=bases if len(methods) > 1 else {})


@pytest.fixture
def planned(monkeypatch):
    """Let each experiment keep the memory of BYTES; a method without an entry makes no plan."""

    def plan(experiment, catalog):
        if experiment.method not in BYTES:
            raise catalog
        return SimpleNamespace(context=experiment.method)

    monkeypatch.setattr(stage_counts, "plan", plan)
    monkeypatch.setattr(stage_counts, "unneeded_stages", lambda plan, split: BYTES[plan.context])
    monkeypatch.setattr(
        stage_counts.prototype_steps, "kept_bytes", lambda context, split: BYTES[context]
    )


@pytest.mark.usefixtures("planned")
def test_trials_of_combinations_request_the_memory_of_the_largest_one():
    """A process may try any of them, not only the untuned one."""
    assert kept_bytes(None, sweep_of("cam")) == 0
    assert kept_bytes(None, sweep_of("lpcam")) == 3000
    assert kept_bytes(None, sweep_of("cam", "lpcam", "sipe")) == 3000


@pytest.mark.usefixtures("planned")
def test_a_combination_that_makes_no_plan_keeps_nothing():
    """Its trial reports the error; a store that cannot be read is another matter."""
    sweep = sweep_of("sipe", "cpal")
    assert kept_bytes(InputError("no such split"), sweep) == 1000
    with pytest.raises(StorageError, match="no answer"):
        kept_bytes(StorageError("no answer"), sweep)
