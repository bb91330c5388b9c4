"""Training of a network with Ray Train: any number of workers, CPU or GPU."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import places
from ..data.shards import Slice
from ..data.transforms import Crop
from ..errors import AheadError, InputError, StorageError
from ..experiment import Network, Training, halved
from ..learner import Batch, Learner
from ..models import backbones, weights
from ..models.trainable import Separate, Trainable
from . import checkpoints, cluster, stream
from .losses import Log, following

NETWORK = "network.pt"
METRICS = "metrics.jsonl"
DIVERGED = 100
"""A training stops where its loss is as many times that of its first step, or 1 if that is more."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a training worker needs to know. A training that stops early, `until` so many
    epochs, follows the schedule of the whole one and can go on."""

    learner: Learner
    network: Network
    training: Training
    classes: int
    slices: tuple[Slice, ...]
    seed: int
    metrics: str
    planes: str = ""
    probabilities: str = ""
    field: str = "training"
    until: int | None = None

    @property
    def last(self) -> int:
        """Epochs after which this training stops: all, or `until` as many."""
        epochs = self.training.epochs
        return epochs if self.until is None else min(self.until, epochs)

    def plan(self, rank: int, world: int) -> stream.Plan:
        t = self.training
        if t.batch_size % world:
            raise InputError(f"batch_size {t.batch_size} cannot be cut among {world} workers")
        if t.batch_size // world < self.learner.least:
            raise InputError(
                f"{self.learner.name} needs {self.learner.least} images a step on each worker; "
                f"raise {self.field}.batch_size ({t.batch_size})"
            )
        plan = stream.Plan(
            slices=self.slices,
            classes=self.classes,
            batch_size=t.batch_size // world,
            crop=Crop(resize=t.resize, side=t.crop, rescale=t.rescale),
            seed=self.seed,
            rank=rank,
            world=world,
            shuffle_rows=t.shuffle_rows,
            planes=self.planes,
            probabilities=self.probabilities,
        )
        if not plan.steps:
            rows = sum(s.rows for s in self.slices)
            raise InputError(f"{rows} images do not fill one batch of {t.batch_size}")
        return plan


def build(network: Network, learner: Learner, classes: int, seed: int) -> Trainable:
    """The untrained network, with its ImageNet weights if any are given."""
    torch.manual_seed(seed)
    try:
        body = backbones.build(network.backbone)
    except ValueError as error:
        raise InputError(str(error)) from None
    if network.weights:
        weights.load(body, network.weights, network.backbone)
    return learner.network(classes, body, network.frozen_stages)


class Step(nn.Module):
    """One forward pass to the loss terms, so that DDP sees the whole of it."""

    def __init__(self, network: Trainable, learner: Learner) -> None:
        super().__init__()
        self.network, self.learner = network, learner

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.learner.losses(self.network, batch, progress)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was taken: its number, the loss terms and their sum, the backbone's learning
    rate. `values` are in the computer's memory, of a GPU when `there` has come to pass."""

    step: int
    names: tuple[str, ...]
    values: Tensor
    lr: float
    there: torch.cuda.Event | None = None

    def read(self) -> dict[str, float]:
        if self.there:
            self.there.synchronize()
        return dict(zip(self.names, self.values.tolist(), strict=True))


def taken(step: int, terms: Mapping[str, Tensor], loss: Tensor, lr: float) -> Taken:
    """The numbers of a step, which come from a GPU while it computes the next."""
    values = torch.stack([*terms.values(), loss]).detach().double()
    there = None
    if values.is_cuda:
        values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record()
    return Taken(step=step, names=(*terms, "loss"), values=values, lr=lr, there=there)


class Trainer:
    """Network, optimiser and position of one worker; what a checkpoint holds."""

    def __init__(self, job: Job, device: torch.device, rank: int, world: int) -> None:
        self.job, self.device = job, device
        self.late = device.type == "cuda"  # a GPU goes on while the numbers of a step are read
        self.plan = job.plan(rank, world)
        self.network = build(job.network, job.learner, job.classes, job.seed)
        self.network.to(device).to(memory_format=torch.channels_last)
        t = job.training
        groups = self.network.groups(t.head_factor, t.lr, t.weight_decay)
        separate = [m for m in self.network.extras.values() if isinstance(m, Separate)]
        first = (
            torch.optim.AdamW(groups, lr=t.lr, fused=True)
            if t.optimizer == "adamw"
            else torch.optim.SGD(groups, lr=t.lr, momentum=t.momentum, fused=True)
        )
        self.optimizers = [first, *(module.optimizer() for module in separate)]
        self.base = [group["lr"] for group in self._groups()]
        self.epoch = self.step = 0
        self.first = math.inf
        self.module: nn.Module = Step(self.network, job.learner)
        if t.compiled:  # not the losses: what depends on labels breaks graphs
            self.network.backbone.compile(dynamic=False)
        wanted = halved(t.precision, device.type)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=wanted)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def steps(self) -> int:
        return self.plan.steps * self.job.training.epochs

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "epoch": self.epoch,
            "step": self.step,
            "first": self.first,
            "random": torch.get_rng_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.epoch, self.step, self.first = state["epoch"], state["step"], state["first"]
        torch.set_rng_state(state["random"])

    def update(self, batch: Batch) -> dict[str, float]:
        """One step; returns the loss terms, their sum and the backbone's learning rate."""
        return self.read(self.advance(batch))

    def read(self, step: Taken) -> dict[str, float]:
        """The numbers of a step, in the order of the steps; a GPU may be at the next meanwhile.

        Raises:
            InputError: the training diverged.
        """
        values, t = step.read(), self.job.training
        loss = values["loss"]
        if not step.step and loss > 0:
            self.first = max(1.0, loss)
        if not loss < DIVERGED * self.first:  # not a number is not smaller either
            raise InputError(
                f"training {self.job.learner.name} diverged at step {step.step}: the loss is "
                f"{loss}; lower {self.job.field}.lr ({t.lr}) or set {self.job.field}."
                f"clip_norm ({t.clip_norm}){self.job.learner.advice}"
            )
        return {**values, "lr": step.lr}

    def _terms(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        try:
            found: dict[str, Tensor] = self.module(batch, progress)
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise InputError(
                    f"the network cannot be compiled here, which takes a C++ compiler: set "
                    f"{self.job.field}.compiled=false ({type(error).__name__})"
                ) from error
            raise
        return found

    def advance(self, batch: Batch) -> Taken:
        """One step, whose numbers nothing waits for."""
        t, progress = self.job.training, self.step / self.steps
        rise = min(1.0, (self.step + 1) / t.warm_up) if t.warm_up else 1.0
        for group, lr in zip(self._groups(), self.base, strict=True):
            group["lr"] = lr * (1 - progress) ** t.power * rise
        batch = batch.to(self.device)
        with self.autocast:
            terms = self._terms(batch, progress)
        loss = torch.stack(list(terms.values())).sum()
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if t.clip_norm:
            own = [p for group in self.optimizers[0].param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(own, t.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return taken(self.step - 1, terms, loss, float(self._groups()[0]["lr"]))


def run_worker(job: Job) -> None:
    """The training loop of one Ray Train worker."""
    import ray.train
    import ray.train.torch

    cluster.data_context()
    fault = Path(job.metrics).with_suffix(".fault")
    if places.exists(fault):  # a restart would end as the first try did
        raise InputError(places.read(fault).decode())
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
    if world > 1:
        trainer.module = ray.train.torch.prepare_model(
            trainer.module,
            parallel_strategy_kwargs={"broadcast_buffers": False},  # banks are the same everywhere
        )
    try:
        train(trainer, Log(Path(job.metrics), trainer.step) if rank == 0 else None, _report(rank))
    except InputError as error:
        if not isinstance(error, StorageError):
            places.write(fault, str(error).encode())
        raise


def _report(rank: int) -> Callable[[Trainer, dict[str, float]], None]:
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


def train(
    trainer: Trainer, log: Log | None, report: Callable[[Trainer, dict[str, float]], None]
) -> None:
    """Runs the epochs that are left and reports after each."""
    learner, network = trainer.job.learner, trainer.network
    total: list[float] = []
    ahead: list[Taken] = []

    def note(epoch: int) -> None:
        metrics = trainer.read(step := ahead.pop(0))
        total.append(metrics["loss"])
        if log:
            log.write(epoch=epoch, step=step.step, steps=trainer.steps, **metrics)

    epochs = range(trainer.epoch, trainer.job.last)
    for epoch, batch in stream.batches(trainer.plan, epochs, trainer.device):
        if trainer.step == epoch * trainer.plan.steps:
            network.train()
            learner.on_epoch_start(network, epoch)
        ahead.append(trainer.advance(batch))
        ended = trainer.step == (epoch + 1) * trainer.plan.steps
        while len(ahead) > (trainer.late and not ended):
            note(epoch)
        if ended:
            trainer.epoch = epoch + 1
            if trainer.epoch == trainer.job.training.epochs:
                learner.after_training(network)
            if log:
                log.keep()
            report(trainer, {"epoch": epoch, "loss": sum(total) / len(total)})
            total.clear()


def _fitted(trainer: Any, fault: Path) -> Any:
    """The result of a training; what a worker failed of is raised as it was there."""
    import ray.train

    try:
        return trainer.fit()
    except ray.train.v2.api.exceptions.WorkerGroupError as error:
        if places.exists(fault):
            text = places.read(fault).decode()
            places.remove(fault)
            raise InputError(text) from error
        raise next(iter(error.worker_failures.values())) from error


def _keep(folder: Path, job: Job, home: Path, state: Mapping[str, Any]) -> None:
    """Leaves a network in `folder`. One of a training that stopped early is as if that had been
    its end; what it needs to go on stays."""
    if state["epoch"] != job.last:
        raise AheadError(f"{home.name} has trained {state['epoch']} epochs, not {job.last}")
    if job.last < job.training.epochs:
        network = build(job.network, job.learner, job.classes, job.seed)
        network.load_state_dict(state["network"])
        job.learner.after_training(network)
        torch.save(network.state_dict(), folder / NETWORK)
        return
    torch.save(state["network"], folder / NETWORK)
    metrics = Path(job.metrics)
    (folder / METRICS).write_bytes(places.read(metrics))


def fit(
    folder: Path, job: Job, home: Path, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Trains with Ray Train and leaves the network and its metrics in `folder`.

    Args:
        folder: empty.
        job: what to train.
        home: keeps checkpoints by epoch until the whole training is done; a second try, and one
            that should stop later, resume there.
        progress: called with (text, steps done, steps in all).

    Raises:
        AheadError: the training in `home` went further than this one should.
    """
    import ray.train
    import ray.train.torch

    job.plan(0, job.training.workers)
    fault = Path(job.metrics).with_suffix(".fault")
    places.remove(fault)
    gpu = cluster.gpus() > 0
    trainer = ray.train.torch.TorchTrainer(
        run_worker,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.training.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name=home.name,
            **places.storage(home.parent),
            failure_config=ray.train.FailureConfig(max_failures=2, controller_failure_limit=2),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": cluster.ENVIRONMENT},
            logging_config=ray.train.LoggingConfig("ERROR"),
        ),
    )
    with following(Path(job.metrics), progress):
        result = _fitted(trainer, fault)
    with result.checkpoint.as_directory() as kept:
        state = checkpoints.load(Path(kept))
    _keep(folder, job, home, state)
    return {"steps": state["step"], "workers": job.training.workers, "gpu": gpu}
