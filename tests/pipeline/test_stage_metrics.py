"""Tests of the metrics of stages, and that Ray exports those that the Grafana dashboard shows."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from limits import wait_until
from small_jobs import SMALL
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.stage_metrics import MeasuredDisplay
from wsss.platform.ray_runtime import metrics
from wsss.platform.records.progress import ProgressDisplay

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana.json"
COUNTS = {"train": 48, "val": 16}


def measured(
    monkeypatch: pytest.MonkeyPatch, trains: bool, config: dict[str, Any]
) -> tuple[MeasuredDisplay, list[tuple[str, float]]]:
    """Return a display that measures a stage, and the list of what it measures."""
    values: list[tuple[str, float]] = []
    monkeypatch.setattr(
        metrics, "add", lambda name, value, stage, **_: values.append((name, value))
    )
    monkeypatch.setattr(metrics, "set_queue", lambda value, stage: values.append(("queue", value)))
    display = MeasuredDisplay(ProgressDisplay())
    step: Any = SimpleNamespace(stage=SimpleNamespace(name="maps", config=config), trains=trains)
    display.begin(step, COUNTS)
    return display, values


def test_slices_count_the_images_of_their_split(monkeypatch: pytest.MonkeyPatch) -> None:
    display, values = measured(monkeypatch, False, {"split": "val"})
    display.update("", 1, 4)
    display.update("", 4, 4)
    assert values == [("wsss_images", 4), ("queue", 12), ("wsss_images", 12), ("queue", 0)]


def test_steps_of_a_training_after_its_checkpoint_count_their_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    display, values = measured(monkeypatch, True, {"training": {"batch_size": 8}})
    display.update("", 5, 12)
    display.update("", 7, 12)
    assert values == [("wsss_images", 0), ("queue", 56), ("wsss_images", 16), ("queue", 40)]


def test_units_that_stand_for_no_images_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    display, values = measured(monkeypatch, False, {"K": 3})
    display.update("round 1", 1, 9)
    assert values == []


def exported() -> dict[str, set[tuple[str, str]]]:
    """Return the samples that Ray exports on this machine: by name, stages and values of cached."""
    import ray

    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address) as answer:
        text = answer.read().decode()
    out: dict[str, set[tuple[str, str]]] = {}
    for name, tags in re.findall(r"^(ray_wsss_\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        values = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        out.setdefault(name, set()).add((values["stage"], values.get("cached", "")))
    return out


@pytest.mark.cluster
def test_ray_exports_every_metric_of_the_dashboard(
    ray_started: None, job: Any, in_process: None
) -> None:
    changes = {**SMALL, "views.scales": (1.0,), "scoring.splits": ("val",)}
    experiment = build_experiment("cam", preset="scenes", changes=changes)
    Execution.of(job.store, job.experiment).execute()
    Execution.of(job.store, experiment).execute()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    named = [re.findall(r"\bray_\w+", query) for query in queries]
    assert all(named)
    expected = {name for names in named for name in names}
    wait_until(lambda: expected <= set(exported()), "Ray exports the metrics")
    samples = exported()
    assert {("network", "true"), ("maps", "true"), ("maps", "false")} <= samples[
        "ray_wsss_stages_total"
    ]
    assert ("maps", "") in samples["ray_wsss_images_total"]
    assert {tag for query in queries for tag in re.findall(r"by \((\w+)\)", query)} <= {
        "stage",
        "cached",
    }
