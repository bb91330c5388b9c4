"""Tests of the number of inference actors, which memory bounds where images are large."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Context
from wsss.platform.ray_runtime import cluster
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder


def context_of(about: dict[str, Any], **changes: Any) -> Context:
    """Return the context of an experiment on a data set whose manifest has the given notes."""
    shards = Artifact(LocalFolder(Path("nowhere")), {"key": "ab" * 32, "about": about})
    catalog: Any = SimpleNamespace(dataset=lambda name: shards)
    return Context(build_experiment("lpcam", changes=changes), catalog)


@pytest.mark.parametrize(
    ("about", "need", "actors"),
    [
        ({"check": {"sizes": {"largest": [500, 500]}}}, 500 * 500 * 4 * 1024, 8),
        ({"check": {"sizes": {"largest": [1000, 1000]}}}, 1000 * 1000 * 4 * 1024, 6),
        ({"check": {"sizes": {"largest": [3000, 4000]}}}, 8 << 30, 3),
        ({"check": {"sizes": None}}, 0, 8),
        ({}, 0, 8),
    ],
)
def test_the_largest_image_bounds_the_number_of_actors(
    about: dict[str, Any], need: int, actors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has 8 cores and 3.5 GiB for each of them."""
    node = {"Alive": True, "Resources": {"CPU": 10.0, "memory": 28.0 * 2**30}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    monkeypatch.setattr(cluster, "gpus", lambda: 0)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 10.0})
    monkeypatch.setattr(cluster, "cores", lambda: 8)
    assert context_of(about).image_need == need
    assert context_of(about).views().actors == actors
    assert context_of(about, **{"views.actors": 5}).views().actors == 5


def test_small_images_have_an_actor_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has 1 GiB for each core, of which Ray's object store takes a half."""
    node = {"Alive": True, "Resources": {"CPU": 6.0, "memory": 2.0 * 2**30}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    monkeypatch.setattr(cluster, "gpus", lambda: 0)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 6.0})
    monkeypatch.setattr(cluster, "cores", lambda: 4)
    context = context_of({"check": {"sizes": {"largest": [500, 500]}}})
    assert context.views().actors == 4


def test_the_cores_of_all_nodes_of_a_cluster_have_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores are left for the driver and for loading."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 32.0})
    monkeypatch.setattr(cluster, "gpus", lambda: 0)
    monkeypatch.setattr(cluster, "cores", lambda: 8)
    assert context_of({"check": {"sizes": {"largest": [500, 500]}}}).views().actors == 30
