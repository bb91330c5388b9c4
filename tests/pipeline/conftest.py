from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from wsss.platform.config.experiment import Experiment
from wsss.platform.data import registry
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.storage.store import Store


@pytest.fixture(scope="session")
def ray_started() -> Iterator[None]:
    import ray

    cluster.connect()
    yield
    ray.shutdown()


@dataclass
class Job:
    """Main job, carried out once for all tests of this folder."""

    store: Store
    experiment: Experiment
    pipeline: Execution


@pytest.fixture(scope="session")
def job(ray_started: None, tmp_path_factory: pytest.TempPathFactory) -> Job:
    store = Store(tmp_path_factory.mktemp("store"))
    registry.add(store, Scenes(train=48, val=16), "scenes", ProgressDisplay())
    changes = {"training.epochs": 2, "training.batch_size": 8, "views.scales": (1.0, 0.5)}
    main_experiment = build_experiment("lpcam", preset="scenes", changes=changes)
    pipeline = Execution.of(store, main_experiment)
    pipeline.execute()
    return Job(store, main_experiment, pipeline)
