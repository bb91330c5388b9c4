"""Fixtures of the pipeline tests: finished jobs, computed with Ray or in the tests' process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file, in any import mode
from in_process import (
    repeated_pools_in_process,
    stages_in_process,
    stages_in_trials,
    trainings_in_process,
)
from small_jobs import CHAIN, SMALL, TRAIN, VAL
from sweeps_in_process import sweeps_in_process
from wsss.platform.cli import main
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import replaced
from wsss.platform.data import registry
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference.propagation import Walk
from wsss.platform.storage.store import Store
from wsss.platform.tuning import trial
from wsss.platform.tuning.sweep import Sweep


@pytest.fixture(scope="session")
def ray_started() -> Iterator[None]:
    """Start Ray, whose processes send their metrics once a second instead of once in ten.

    It keeps idle processes for later tests, which would otherwise import torch in new ones."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        patch.setenv("RAY_num_workers_soft_limit", "6")
        cluster.connect()
    yield
    ray.shutdown()


@pytest.fixture
def in_process() -> Iterator[None]:
    """Compute all stages of a test in its own process."""
    with stages_in_process():
        yield


@pytest.fixture
def trials_in_process(ray_started: None, in_process: None) -> Iterator[None]:
    """Run the trials of a test's sweeps with Tune, and compute all stages without Ray."""
    with stages_in_trials():
        yield


@pytest.fixture
def trials_without_ray(in_process: None) -> Iterator[None]:
    """Run the trials of a test's sweeps one after another, and compute all stages, without Ray."""
    with sweeps_in_process():
        yield


@dataclass
class Job:
    """A finished job in a store that the tests share."""

    store: Store
    experiment: Experiment
    pipeline: Execution


def _add_scenes(folder: Path) -> Store:
    store = Store(folder)
    registry.add(store, Scenes(train=TRAIN, val=VAL), "scenes", ProgressDisplay())
    return store


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return the main job: training, class maps, clustering and scores of LPCAM."""
    main_experiment = build_experiment("lpcam", preset="scenes", changes=SMALL)
    with stages_in_process():
        store = _add_scenes(tmp_path_factory.mktemp("store"))
        pipeline = Execution.of(store, main_experiment)
        pipeline.execute()
    return Job(store, main_experiment, pipeline)


@pytest.fixture(scope="session")
def chain(job: Job) -> Any:
    """Return the finished chain of LPCAM, IRN and DeepLabV2 on the job's class maps."""
    pipeline = Execution.of(job.store, replaced(job.experiment, CHAIN))
    with stages_in_process():
        pipeline.execute()
    return pipeline


@pytest.fixture(scope="session")
def ray_chain(ray_started: None, tmp_path_factory: pytest.TempPathFactory) -> Execution:
    """Return the chain on a network of its own, computed with Ray.

    Class maps are those of the training images, and predictions those of the validation images. The
    networks of IRN and the segmenter are trained in this process: the first network shows that a
    worker of Ray Train computes the same, and what differs between trainings, the columns of their
    batches, comes from Ray Data here too. Of the pools of actors, Ray runs that of the first class
    maps and of the predictions; `stages/labels/test_batched_labels.py` starts that of a walk."""
    few = {"scoring.splits": ("train",), "segment.splits": ("val",)}
    experiment = build_experiment("lpcam", preset="scenes", changes={**SMALL, **CHAIN, **few})
    pipeline = Execution.of(_add_scenes(tmp_path_factory.mktemp("ray")), experiment)
    pipeline.compute(pipeline.plan.steps[0])
    with trainings_in_process(), repeated_pools_in_process([Walk]):
        pipeline.execute()
    return pipeline


@dataclass
class RayTrial:
    """A trial that was stopped at a rung and continued, computed with Ray."""

    store: Store
    result: dict[str, Any]
    rungs: list[dict[str, Any]]


@pytest.fixture
def ray_trial(ray_started: None, tmp_path: Path) -> RayTrial:
    """Return the trial that trains the network of the main job, in a store of its own."""
    store = _add_scenes(tmp_path)
    base = build_experiment("cam", preset="scenes", changes=SMALL)
    point = {"training.lr": base.training.lr}
    sweep = Sweep(base=base, space={"training.lr": [*point.values()]}, scheduler="asha")
    rungs: list[dict[str, Any]] = []
    result = trial.run(Catalog.of(store), sweep, point, base.seed, rungs.append)
    return RayTrial(store, result, rungs)


@pytest.fixture
def wsss(job: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command on the job's store; it returns code, output, errors."""

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "--store", str(job.store)])
        out, err = capsys.readouterr()
        return code, out, err

    return call
