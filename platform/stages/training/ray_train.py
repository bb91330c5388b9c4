"""Training of a network with Ray Train, on any number of CPU or GPU workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...errors import AheadError
from ...models.weights import torch_bytes
from ...ray_runtime import cluster, session
from ...ray_runtime.quirks import settings
from ...ray_runtime.quirks.training import (
    fit_until_interrupt,
    stop_at_input_error,
    with_new_controllers,
)
from ...ray_runtime.worker_errors import memory_advised, sendable, unwrapped
from ...records.progress import ProgressDisplay
from ...records.progress_file import METRICS
from ...storage.artifact_files import ArtifactFolder
from ...storage.storage import Location
from . import checkpoints
from .metrics_log import Log, following
from .trainer import Job, Trainer, build, run_epochs

NETWORK = "network.pt"
MAX_FAILURES = 2
"""Largest number of times that the workers of one training are started anew."""


@sendable
def run_worker(job: Job) -> None:
    """Run the training loop of one Ray Train worker.

    Raises:
        InputError: the memory does not suffice, so that another start of the workers is of no use.
    """
    training, field = job.training, job.field
    advice = f"lower {field}.batch_size ({training.batch_size}) or {field}.crop ({training.crop})"
    with memory_advised(f"training {job.learner.name}", advice):
        _train(job)


def _train(job: Job) -> None:
    import ray.train
    import ray.train.torch

    settings.set_data_options()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, cluster.cores() // world))
    trainer = Trainer(job, device, rank, world)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            trainer.load(checkpoints.load(Path(folder)))
    elif job.start:
        trainer.load(checkpoints.load_from(job.start))
    if world > 1:
        trainer.module = ray.train.torch.prepare_model(
            trainer.module,
            parallel_strategy_kwargs={
                # Banks of prototypes are equal on all workers. Running statistics of batch
                # normalisation that is trained differ, and those of the first worker are kept.
                "broadcast_buffers": False
            },
        )
    log = Log(job.metrics, trainer.step) if rank == 0 else None
    run_epochs(trainer, log, _report(rank))


def _report(rank: int) -> Callable[[Trainer, dict[str, float]], None]:
    """Return the function with which a worker reports an epoch and saves its checkpoint."""
    import ray.train

    def report(trainer: Trainer, metrics: dict[str, float]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if rank == 0:
                checkpoints.save(trainer.state(), Path(folder))
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            name = f"epoch_{trainer.epoch:04d}"
            ray.train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=name)

    return report


def _keep(folder: ArtifactFolder, job: Job, home: Location, state: Mapping[str, Any]) -> None:
    """Write the trained network to `folder`.

    The network of a training that stops early is finished as if the training were complete; its
    checkpoints are kept, so that it can go on later.

    Raises:
        AheadError: the training went further than the job says.
    """
    if state["epoch"] != job.last:
        raise AheadError(f"{home.last_name} has trained {state['epoch']} epochs, not {job.last}")
    if job.last < job.training.epochs:
        with torch.random.fork_rng(devices=()):
            network = build(job.network, job.learner, job.classes, job.seed)
        network.load_state_dict(state["network"])
        job.learner.after_training(network)
        (folder / NETWORK).write_bytes(torch_bytes(network.state_dict()))
        return
    (folder / NETWORK).write_bytes(torch_bytes(state["network"]))
    (folder / METRICS).write_bytes(job.metrics.read())


def _resources(gpu: bool) -> dict[str, float]:
    """Return the resources of one worker by name."""
    return {"CPU": 1, **({"GPU": 1} if gpu else {})}


def _trainer(job: Job, home: Location, gpu: bool) -> Any:
    """Return Ray Train's trainer of a job; it goes on from the checkpoints in `home`, if any."""
    import ray.train
    import ray.train.torch

    return ray.train.torch.TorchTrainer(
        run_worker,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.training.workers,
            use_gpu=gpu,
            resources_per_worker=_resources(gpu),
        ),
        run_config=ray.train.RunConfig(
            name=home.last_name,
            **home.parent.for_ray(),
            failure_config=ray.train.FailureConfig(
                max_failures=MAX_FAILURES, controller_failure_limit=2
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": settings.ENVIRONMENT},
            logging_config=ray.train.LoggingConfig("ERROR"),
            callbacks=[stop_at_input_error()],
        ),
    )


def fit(
    folder: ArtifactFolder,
    job: Job,
    home: Location,
    progress: ProgressDisplay,
    discard_damaged: Callable[[], None],
) -> dict[str, Any]:
    """Train a network with Ray Train and write it and its metrics to `folder`.

    Args:
        folder: empty folder that takes the files.
        job: what to train.
        home: folder of the checkpoints until the whole training is done. A second try goes on from
            these checkpoints, and so does the same training when it should stop at a later epoch.
        progress: display of the steps, which also takes their metrics.
        discard_damaged: discards the checkpoints if they are damaged; called before each try.

    Returns:
        Facts about the artifact for its manifest.

    Raises:
        AheadError: the training in `home` went further than this one should.
        InputError: the cluster never has the resources of the workers.
        Exception: what a worker raised, as it raised it.
    """
    job.plan(0, job.training.workers)
    cluster.check_workers(job.training.workers, f"{job.field}.workers")
    gpu = cluster.gpus() > 0

    def attempt() -> Any:
        discard_damaged()
        if job.start:
            checkpoints.begin(job.start, job.metrics)
        waits_for = partial(cluster.waits_for, _resources(gpu), job.training.workers)
        with following(job.metrics, progress, waits_for):
            return fit_until_interrupt(_trainer(job, home, gpu))

    with unwrapped():
        result = with_new_controllers(attempt, session.lost)
    with result.checkpoint.as_directory() as checkpoint_folder:
        state = checkpoints.load(Path(checkpoint_folder))
    _keep(folder, job, home, state)
    return {"steps": state["step"], "workers": job.training.workers, "gpu": gpu}
