"""Tests of the metrics of stages, and that Ray exports those that the Grafana dashboard shows."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from limits import wait_until
from small_jobs import SMALL, VAL
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.ray_runtime import metrics
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.stage_metrics import MeasuredDisplay, count_artifact
from wsss.platform.storage.artifact import Artifact, Stage
from wsss.platform.storage.artifact_files import LocalFolder

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana.json"
COUNTS = {"train": 48, "val": 16}
STAGE = "maps of the tests of metrics"


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Return the list of what is measured from now on, except counters that are raised by 0."""
    out: list[tuple[str, float]] = []

    def add(name: str, value: float, stage: str, **_: str) -> None:
        if value:
            out.append((name, value))

    monkeypatch.setattr(metrics, "add", add)
    monkeypatch.setattr(metrics, "set_queue", lambda value, stage: out.append(("queue", value)))
    return out


def stage(**config: Any) -> Stage:
    return Stage(name=STAGE, version=1, config=config)


def test_slices_count_the_images_of_their_split(values: list[tuple[str, float]]) -> None:
    display = MeasuredDisplay(ProgressDisplay())
    with display.counted(stage(split="val"), False, COUNTS):
        display.update("", 1, 4)
        display.update("", 4, 4)
    assert values == [("wsss_images", 4), ("queue", 12), ("wsss_images", 12), ("queue", 0)]


def test_steps_of_a_training_after_its_checkpoint_count_their_batch(
    values: list[tuple[str, float]],
) -> None:
    """The display does not see the last steps before the training ends."""
    display = MeasuredDisplay(ProgressDisplay())
    with display.counted(stage(training={"batch_size": 8}), True, COUNTS):
        display.update("", 5, 12)
        display.update("", 7, 12)
    images = [value for name, value in values if name == "wsss_images"]
    assert images == [16, 40]
    assert [value for name, value in values if name == "queue"] == [56, 40, 0]


def test_a_stage_that_fails_leaves_no_queue(values: list[tuple[str, float]]) -> None:
    display = MeasuredDisplay(ProgressDisplay())

    def fail() -> None:
        with display.counted(stage(split="val"), False, COUNTS):
            display.update("", 1, 4)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert values == [("wsss_images", 4), ("queue", 12), ("queue", 0)]


def test_units_that_stand_for_no_images_are_not_counted(values: list[tuple[str, float]]) -> None:
    display = MeasuredDisplay(ProgressDisplay())
    with display.counted(stage(K=3), False, COUNTS):
        display.update("round 1", 1, 9)
    display.update("between two stages", 1, 9)
    assert values == []


def test_computed_stages_and_those_in_the_store_are_counted(
    job: Any, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: Counter[tuple[str, ...]] = Counter()

    def add(name: str, value: float, stage: str, **tags: str) -> None:
        if value:
            totals[name, stage, *tags.values()] += round(value)

    monkeypatch.setattr(metrics, "set_queue", lambda *_: None)
    monkeypatch.setattr(metrics, "add", add)
    changes = {**SMALL, "views.scales": (1.0,), "scoring.splits": ("val",)}
    experiment = build_experiment("cam", preset="scenes", changes=changes)
    execution = Execution.of(job.store, experiment)
    execution.execute()
    counted = {key: total for key, total in totals.items() if key[0] == metrics.STAGES}
    assert counted == {
        (metrics.STAGES, "network", "true"): 1,
        (metrics.STAGES, "maps", "false"): 1,
        (metrics.STAGES, "scores", "false"): 1,
    }
    images = {key[1]: total for key, total in totals.items() if key[0] == metrics.IMAGES}
    assert images == {"maps": VAL, "scores": VAL}
    (maps,) = [artifact for artifact, row in execution.done.values() if row.stage == "maps"]
    sizes = [entry["size"] for entry in maps.manifest["files"].values()]
    assert totals[metrics.BYTES, "maps"] == sum(sizes)


def exported() -> dict[tuple[str, str], float]:
    """Return the samples of this file's stage that Ray exports, by name and value of `cached`."""
    import ray

    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address) as answer:
        text = answer.read().decode()
    out: dict[tuple[str, str], float] = {}
    for name, tags, value in re.findall(r"^(ray_wsss_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tag_values = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        if tag_values["stage"] == STAGE:
            out[name, tag_values.get("cached", "")] = float(value)
    return out


@pytest.mark.cluster
def test_ray_exports_every_metric_of_the_dashboard(ray_started: None) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    named = [re.findall(r"\bray_\w+", query) for query in queries]
    assert all(named)
    grouped = {tag for query in queries for tag in re.findall(r"by \((\w+)\)", query)}
    assert grouped <= {"stage", "cached"}
    artifact = Artifact(LocalFolder(Path()), {"files": {"maps.npy": {"size": 1000}}})
    display = MeasuredDisplay(ProgressDisplay())
    with display.counted(stage(split="val"), False, COUNTS):
        display.update("", 1, 4)
        count_artifact(stage(), artifact, 2.5, cached=False)
        count_artifact(stage(), artifact, 0.5, cached=True)
        expected = {name for names in named for name in names}
        wait_until(lambda: expected <= {name for name, _ in exported()}, "Ray exports the metrics")
        assert exported() == {
            ("ray_wsss_images_total", ""): 4,
            ("ray_wsss_queue", ""): 12,
            ("ray_wsss_seconds_total", ""): 2.5,
            ("ray_wsss_stages_total", "false"): 1,
            ("ray_wsss_stages_total", "true"): 1,
            ("ray_wsss_bytes_total", ""): 1000,
        }
