"""Stages computed in the process of a test, without Ray.

Ray calls the same functions in other processes: `Actor.work` for inference, `run_epochs` for
training, and the tasks of `cluster.map_tasks`. What a stage computes needs no such process, and
starting one takes longer than a small stage itself. `test_with_ray.py` shows that Ray computes the
same. The stages of a Tune trial may be computed in the process of the trial.

Here, images are enlarged to 128 pixels instead of 500 before their superpixels are computed, which
would take half a second an image; `tests/stages/labels/test_regions.py` enlarges some to 500.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import cloudpickle
from wsss.platform.data.formats import shards
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.inference import actors
from wsss.platform.stages.labels import superpixels
from wsss.platform.stages.training import checkpoints, loader, metrics_log, ray_train
from wsss.platform.stages.training.trainer import Trainer, run_epochs
from wsss.platform.storage.artifact_files import ArtifactFolder
from wsss.platform.storage.storage import Location
from wsss.platform.tuning import trial, tuner


def _copied(job: Any) -> Any:
    """Return a job as Ray hands it to another process."""
    return cloudpickle.loads(cloudpickle.dumps(job))


def _map_tasks(
    task: Callable[..., Any],
    pieces: Sequence[Any],
    shared: Sequence[Any] = (),
    progress: Callable[[int, int], None] | None = None,
    lost: object = None,
    need: int = 0,
) -> Iterator[Any]:
    for number, piece in enumerate(pieces, 1):
        result = task(*_copied((piece, *shared)))
        if progress:
            progress(number, len(pieces))
        yield result


def _infer(
    actor: Callable[[Any], actors.Actor],
    job: object,
    pieces: Sequence[shards.Slice],
    count: int,
    progress: Callable[[int, int], None],
    gpu_share: float = 0.0,
) -> dict[str, Any]:
    threads = torch.get_num_threads()
    made, done = actor(_copied(job)), 0  # an actor sets the number of threads of its process
    for piece in pieces:
        done += made.work(piece)
        progress(done, sum(piece.rows for piece in pieces))
    torch.set_num_threads(threads)
    return {"images": done, **actors.merged_ids([made.reduced])}


def _blocks(plan: loader.Plan, epochs: Sequence[int]) -> Iterator[Any]:
    for piece in (piece for epoch in epochs for piece in plan.pieces(epoch)):
        columns = {name: np.array([value]) for name, value in piece.items()}
        yield loader.load_rows(columns, plan.loading)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _fit(
    folder: ArtifactFolder,
    job: Any,
    home: Location,
    progress: ProgressDisplay,
    discard_damaged: object,
) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(cluster.cores())  # as in a worker of Ray Train
    trainer = Trainer(_copied(job), _device(), 0, 1)
    last = home / "epoch"
    if (last / checkpoints.STATE).exists():
        trainer.load(torch.load(io.BytesIO((last / checkpoints.STATE).read())))
    elif job.start:
        checkpoints.begin(job.start, job.metrics)
        trainer.load(checkpoints.load_from(job.start))
    log = metrics_log.Log(job.metrics, trainer.step)
    run_epochs(trainer, log, lambda *_: None)
    log.stream.close()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as checkpoint:
        checkpoints.save(trainer.state(), Path(checkpoint))
        ray_train._keep(folder, job, home, checkpoints.load(Path(checkpoint)))
        if job.until:
            for name in (checkpoints.STATE, checkpoints.SUM):
                (last / name).write((Path(checkpoint) / name).read_bytes())
            record = {"latest_checkpoint_result": {"checkpoint_dir_name": last.last_name}}
            (home / checkpoints.SNAPSHOT).write(json.dumps(record).encode())
    return {"steps": trainer.step, "workers": 1, "gpu": False}


def _write_shards(
    folder: ArtifactFolder,
    source: Any,
    plan: Sequence[tuple[str, Any]],
    tolerate: bool,
    resources: object,
) -> Iterator[shards.ShardResult]:
    for name, items in plan:
        yield shards.write_shard(folder / name, source, items, tolerate)


@contextlib.contextmanager
def trainings_in_process() -> Iterator[None]:
    """Train in this process, on batches that Ray Data reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_train, "fit", _fit)
        yield


@contextlib.contextmanager
def repeated_pools_in_process(known: Sequence[type[actors.Actor]]) -> Iterator[None]:
    """Let Ray run the first pool of each class of actors, and compute in this process instead of
    further pools, and instead of those of the known classes, whose pools other tests start."""
    started, with_ray = [*known], actors.run

    def run(actor: type[actors.Actor], *arguments: Any) -> dict[str, Any]:
        repeated = actor in started
        started.append(actor)
        return (_infer if repeated else with_ray)(actor, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actors, "run", run)
        yield


@contextlib.contextmanager
def stages_in_process() -> Iterator[None]:
    """Compute all stages in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "connect", lambda: None)
        patch.setattr(cluster, "map_tasks", _map_tasks)
        patch.setattr(cluster, "gpus", lambda: 0)
        patch.setattr(cluster, "workers", lambda: 1)
        patch.setattr(cluster, "cpu_stage_resources", lambda share=1.0: None)
        patch.setattr(actors, "run", _infer)
        patch.setattr(loader, "blocks", _blocks)
        patch.setattr(ray_train, "fit", _fit)
        patch.setattr(shards, "_write_shards", _write_shards)
        patch.setattr(superpixels, "PUBLISHED_SIDE", 128)
        yield


def _run_trial(*arguments: Any) -> trial.TrialReport:
    with stages_in_process():
        return trial.run(*arguments)


@contextlib.contextmanager
def stages_in_trials() -> Iterator[None]:
    """Compute all stages of a Tune trial in the process of the trial."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)  # trials cannot import tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "run_trial", _run_trial)
        yield
    cloudpickle.unregister_pickle_by_value(module)
