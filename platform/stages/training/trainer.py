"""The training of one worker, without Ray: its job, its network and optimisers, its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...config.experiment import Network, Training
from ...data.formats.shards import Slice
from ...data.transforms import Crop
from ...errors import InputError
from ...method import Batch, Learner
from ...models import backbones, weights
from ...models.network import Separate, Trainable
from . import loader
from .metrics_log import Log

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

    def plan(self, rank: int, world: int) -> loader.Plan:
        t = self.training
        if t.batch_size % world:
            raise InputError(f"batch_size {t.batch_size} cannot be cut among {world} workers")
        if t.batch_size // world < self.learner.least:
            raise InputError(
                f"{self.learner.name} needs {self.learner.least} images a step on each worker; "
                f"raise {self.field}.batch_size ({t.batch_size})"
            )
        plan = loader.Plan(
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
    backbone = backbones.build(network.backbone)
    if network.weights:
        weights.load(backbone, network.weights, network.backbone)
    return learner.network(classes, backbone, network.frozen_stages)


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
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=t.precision == "bf16")

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


def run_epochs(
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
    for epoch, batch in loader.batches(trainer.plan, epochs, trainer.device):
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
