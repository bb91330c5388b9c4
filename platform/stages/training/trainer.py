"""The training of one worker, without Ray: its job, its network and optimisers, and its steps."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...config.groups.network import Network
from ...config.groups.training import Training
from ...data.formats.shards import Slice
from ...data.transforms import Crop
from ...errors import InputError
from ...method import Batch, Learner
from ...models import backbones, weights
from ...models.network import SeparatelyTrained, Trainable
from ...ops.collectives import mean_over_workers
from ...storage.artifact_files import ArtifactFolder
from ...storage.storage import Location
from . import loader
from .batch_sizes import images_on_worker
from .metrics_log import Log
from .schedule import learning_rate

DIVERGENCE_FACTOR = 10
"""Factor on the first step's loss, or on 1 if that is more, above which a training has diverged."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Description of one training, sent to each worker.

    A training that stops early follows the schedule of the whole training and can go on later.

    Attributes:
        learner: the network to train and its losses.
        network: configuration of the network.
        training: options of the training.
        classes: N, the number of foreground classes.
        slices: slices of the split to train on.
        seed: random seed for initialisation, data order and augmentation.
        metrics: the metrics file.
        planes: folder of the integer planes that batches carry; None for none.
        probabilities: folder of the class maps of all classes that batches carry; None for none.
        field: name of the configuration field that holds `training`, for error messages.
        until: number of epochs after which the training stops early; None for the whole training.
        start: folder of the checkpoint to begin from; None to begin with a new network.
    """

    learner: Learner
    network: Network
    training: Training
    classes: int
    slices: tuple[Slice, ...]
    seed: int
    metrics: Location
    planes: ArtifactFolder | None = None
    probabilities: ArtifactFolder | None = None
    field: str = "training"
    until: int | None = None
    start: ArtifactFolder | None = None

    @property
    def last(self) -> int:
        """Number of epochs after which this training stops."""
        epochs = self.training.epochs
        return epochs if self.until is None else min(self.until, epochs)

    def plan(self, rank: int, world: int) -> loader.Plan:
        """Return the rows and options of one worker.

        Raises:
            InputError: the batch size does not suit the workers, the learner or the images.
        """
        training, rows = self.training, sum(piece.rows for piece in self.slices)
        return loader.Plan(
            slices=self.slices,
            classes=self.classes,
            batch_size=images_on_worker(training, self.learner, world, rows, self.field),
            crop=Crop(
                resize=training.resize,
                side=training.crop,
                rescale=training.rescale,
                factors=training.factors,
                fit=training.fit,
                cropping=training.cropping,
                area=training.area,
            ),
            seed=self.seed,
            rank=rank,
            world=world,
            shuffle_rows=training.shuffle_rows,
            planes=self.planes,
            probabilities=self.probabilities,
        )


def build(
    network: Network,
    learner: Learner,
    classes: int,
    seed: int | None,
    note: Callable[[str], None] | None = None,
) -> Trainable:
    """Return an untrained network, its backbone with the configured ImageNet weights, if any.

    `note` is called with how the weight file was read, and where a backbone that is made for
    ImageNet weights has none. Without a seed, random values follow from numbers drawn before.
    """
    if seed is not None:
        torch.manual_seed(seed)
    rules = (network.positions, network.sizes, network.final_norm)
    backbone = backbones.build(network.backbone, *rules)
    if network.weights:
        read = weights.load(backbone, network.weights, network.backbone, network.weights_key)
        if note:
            note(read)
    elif note and backbone.pretrained:
        note(
            f"weights: none, so {network.backbone} starts from random values; "
            "--weights FILE takes ImageNet weights"
        )
    return learner.network(classes, backbone, network.frozen_stages)


class Step(nn.Module):
    """A module whose forward pass returns the loss terms, so that DDP wraps the whole pass.

    Args:
        network: the network.
        learner: gives the losses.
    """

    def __init__(self, network: Trainable, learner: Learner) -> None:
        super().__init__()
        self.network, self.learner = network, learner

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.learner.losses(self.network, batch, progress)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Numbers of one training step.

    Attributes:
        step: number of the step.
        names: names of the loss terms, then "loss" for their sum.
        values: the numbers in the computer's memory.
        lr: learning rate of the backbone.
        copied: event after which the numbers have arrived from a GPU; None on a CPU.
    """

    step: int
    names: tuple[str, ...]
    values: Tensor
    lr: float
    copied: torch.cuda.Event | None = None

    def read(self) -> dict[str, float]:
        """Wait for the numbers and return them by name."""
        if self.copied:
            self.copied.synchronize()
        return dict(zip(self.names, self.values.tolist(), strict=True))


def step_result(step: int, terms: Mapping[str, Tensor], loss: Tensor, lr: float) -> StepResult:
    """Return the numbers of a step, means over all workers.

    From a GPU they are copied while it computes the next step."""
    values = mean_over_workers(torch.stack([*terms.values(), loss]).detach().double())
    copied = None
    if values.is_cuda:
        values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
    return StepResult(step=step, names=(*terms, "loss"), values=values, lr=lr, copied=copied)


class Trainer:
    """Network, optimisers and position of one worker: the state that a checkpoint holds.

    Args:
        job: what to train.
        device: device to train on.
        rank: number of this worker.
        world: number of workers.
    """

    def __init__(self, job: Job, device: torch.device, rank: int, world: int) -> None:
        self.job, self.device = job, device
        self.reads_late = device.type == "cuda"  # a GPU computes on while numbers are read
        self.plan = job.plan(rank, world)
        self.network = build(job.network, job.learner, job.classes, job.seed)
        self.network.to(device).to(memory_format=torch.channels_last)
        self.training = training = job.training
        groups = self._parameter_groups()
        separate = [
            module
            for module in self.network.extras.values()
            if isinstance(module, SeparatelyTrained)
        ]
        main_optimizer = (
            torch.optim.AdamW(groups, lr=training.lr, fused=True)
            if training.optimizer == "adamw"
            else torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum, fused=True)
        )
        self.optimizers = [main_optimizer, *(module.optimizer() for module in separate)]
        self.base = [group["lr"] for group in self._groups()]
        self.epoch = self.step = 0
        self.first_loss = math.inf
        self.module: nn.Module = Step(self.network, job.learner)
        if training.compiled:  # the losses depend on labels, which breaks graphs
            self.network.backbone.compile(dynamic=False)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=training.precision == "bf16"
        )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the network with the options that hold now."""
        training = self.training
        rates = (training.head_factor, training.lr, training.weight_decay)
        return [dict(group) for group in self.network.parameter_groups(*rates)]

    def begin_epoch(self, epoch: int) -> None:
        """Give the optimiser the options of an epoch, where options change within the training.

        Of several workers, each draws random numbers of its own, for dropout and drop path. They
        follow from its rank and the epoch, because a checkpoint holds the first worker's state.
        """
        if self.plan.world > 1:
            own = random.Random(f"{self.job.seed} {self.plan.rank} {epoch}")
            torch.manual_seed(own.getrandbits(63))
        if not self.job.training.changes:
            return
        self.training = self.job.training.at(epoch)
        groups = self._parameter_groups()
        self.base[: len(groups)] = [group["lr"] for group in groups]
        for held, group in zip(self.optimizers[0].param_groups, groups, strict=True):
            held["weight_decay"] = group["weight_decay"]
            if "momentum" in held:
                held["momentum"] = self.training.momentum

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.plan.steps * self.job.training.epochs

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        on_gpu = self.device.type == "cuda"
        return {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "epoch": self.epoch,
            "step": self.step,
            "first": self.first_loss,
            "random": torch.get_rng_state(),
            **({"random_gpu": torch.cuda.get_rng_state(self.device)} if on_gpu else {}),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint.

        One of a training on a CPU, or of an earlier version, has no random state of a GPU.
        """
        self.network.load_state_dict(state["network"])
        for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        self.epoch, self.step, self.first_loss = state["epoch"], state["step"], state["first"]
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and (random_gpu := state.get("random_gpu")) is not None:
            torch.cuda.set_rng_state(random_gpu, self.device)

    def update(self, batch: Batch) -> dict[str, float]:
        """Train one step; return its loss terms, their sum and the backbone's learning rate."""
        return self.read(self.advance(batch))

    def read(self, step: StepResult) -> dict[str, float]:
        """Return the numbers of a step; on a GPU the next step may be in progress already.

        Steps must be read in their order.

        Raises:
            InputError: the training diverged.
        """
        values, training = step.read(), self.training
        loss = values["loss"]
        if math.isinf(self.first_loss) and 0 < loss < math.inf:
            self.first_loss = max(1.0, loss)
        if not loss < DIVERGENCE_FACTOR * self.first_loss:  # also true of NaN
            raise InputError(
                f"training {self.job.learner.name} diverged at step {step.step}: the loss is "
                f"{loss}; lower {self.job.field}.lr ({training.lr}) or momentum "
                f"({training.momentum}), or set {self.job.field}.clip_norm ({training.clip_norm})"
                f"{self.job.learner.advice}"
            )
        return {**values, "lr": step.lr}

    def _terms(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        try:
            terms: dict[str, Tensor] = self.module(batch, progress)
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise InputError(
                    f"the network cannot be compiled on this machine ({type(error).__name__}); "
                    f"install a C++ compiler or set {self.job.field}.compiled=false"
                ) from error
            raise
        return terms

    def advance(self, batch: Batch) -> StepResult:
        """Train one step without waiting for its numbers."""
        training, progress = self.training, self.step / self.steps
        for group, lr in zip(self._groups(), self.base, strict=True):
            group["lr"] = learning_rate(lr, training, self.step, self.plan.steps)
        batch = batch.to(self.device)
        with self.autocast:
            terms = self._terms(batch, progress)
        loss = torch.stack(list(terms.values())).sum()
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if training.clip_norm:
            parameters = [p for group in self.optimizers[0].param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return step_result(self.step - 1, terms, loss, float(self._groups()[0]["lr"]))


def run_epochs(
    trainer: Trainer, log: Log | None, report: Callable[[Trainer, dict[str, float]], None]
) -> None:
    """Run the remaining epochs and report after each.

    Args:
        trainer: trainer of this worker.
        log: metrics file; None on all workers but the first.
        report: called with the trainer and the metrics of the epoch.
    """
    learner, network = trainer.job.learner, trainer.network
    losses: list[float] = []
    unread: list[StepResult] = []

    def note(epoch: int) -> None:
        metrics = trainer.read(result := unread.pop(0))
        losses.append(metrics["loss"])
        if log:
            log.write(epoch=epoch, step=result.step, steps=trainer.steps, **metrics)

    epochs = range(trainer.epoch, trainer.job.last)
    for epoch, batch in loader.batches(trainer.plan, epochs, trainer.device):
        if trainer.step == epoch * trainer.plan.steps:
            network.train()
            trainer.begin_epoch(epoch)
            learner.on_epoch_start(network, epoch)
        unread.append(trainer.advance(batch))
        ended = trainer.step == (epoch + 1) * trainer.plan.steps
        while len(unread) > (trainer.reads_late and not ended):
            note(epoch)
        if ended:
            trainer.epoch = epoch + 1
            if trainer.epoch == trainer.job.training.epochs:
                learner.after_training(network)
            if log:
                log.upload()
            report(trainer, {"epoch": epoch, "loss": sum(losses) / len(losses)})
            losses.clear()
