"""Options of a training, which the classifier and later stages share."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

from ...errors import FieldError
from ..fields import AUTO, Options, dataclass, option
from .changes import change_text, parse_changes


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    """Options of a network's training; defaults are the classifier's (IRN's train_cam)."""

    split: str = option(
        "train_aug", "Split to train on; in refine and segment, empty: training.split."
    )
    epochs: int = option(5, "Number of passes over the split.", low=1, high=100_000)
    batch_size: int = option(16, "Images per step, over all workers.", low=1, high=65_536)
    lr: float = option(0.1, "Learning rate of the backbone at the first step.", low=0, high=1_000)
    head_factor: float = option(
        10.0, "Ratio of the head's learning rate to the backbone's.", low=0, high=1_000_000
    )
    optimizer: Literal["adamw"] | None = option(None, "Optimizer: adamw; none: SGD with momentum.")
    warm_up: int | None = option(
        None,
        "Steps in which the learning rate rises to its first value; none: no warm-up; not used by "
        "the schedule deit.",
        low=1,
        high=10_000_000,
    )
    momentum: float = option(
        0.9,
        "Momentum of SGD (papers based on IRN: 0.9; their code: in effect 1e-4).",
        low=0,
        high=1,
    )
    weight_decay: float = option(1e-4, "L2 penalty on all trained weights.", low=0, high=1_000)
    power: float = option(
        0.9,
        "Power of the polynomial decay of the learning rate, updated at every step.",
        low=0,
        high=100,
    )
    schedule: Literal["deit"] | None = option(
        None,
        "Course of the learning rate; deit: by epochs, 5 of warm-up from 1e-6, then a cosine to "
        "1e-5 (DeiT's and MCTformer's code); none: polynomial decay at every step.",
        added=True,
    )
    clip_norm: float = option(
        0.0, "Largest norm of the gradient; 0: no clipping.", low=0, high=1_000_000
    )
    changes: tuple[str, ...] = option(
        (),
        "Changes within the training: '4: lr=0.02, momentum=0.8' holds after 4 epochs. Only "
        "lr, head_factor, momentum, weight_decay, power and clip_norm may change.",
        added=True,
    )
    resize: tuple[int, int] = option(
        (320, 640), "Range of the long side of resized images, in pixels.", low=8, high=16_384
    )
    rescale: tuple[float, float] | None = option(
        None,
        "Range of the factor by which an image is resized; none: training.resize holds instead.",
        low=0.05,
        high=20,
    )
    factors: tuple[float, ...] = option(
        (),
        "Factors of which one is drawn for each image; empty: training.rescale holds.",
        low=0.05,
        high=20,
        added=True,
    )
    fit: tuple[int, int] | None = option(
        None,
        "Long and short side of the box that images first fit, also at a segmenter's inference.",
        low=8,
        high=16_384,
        added=True,
    )
    cropping: Literal["irn", "deeplab"] = option(
        "irn",
        "Resizing and padding: irn: bicubic, random sides; deeplab: bilinear, right and bottom.",
        added=True,
    )
    area: tuple[float, float] | None = option(
        None,
        "Range of the share of the image's area that the crop shows, stretched by up to 3/4 or 4/3 "
        "(torchvision's RandomResizedCrop); none: training.resize or training.rescale holds.",
        low=0.01,
        high=1,
        added=True,
    )
    crop: int = option(
        512, "Side of the square crop, in pixels; smaller images are padded.", low=8, high=16_384
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        AUTO,
        "Precision of training; auto: bf16 on a GPU, else fp32; bf16 is also faster on a CPU with "
        "instructions for it (AVX512-BF16, AMX).",
        auto=("bf16", "fp32"),
    )
    compiled: bool = option(
        False,
        "Run the backbone as one compiled graph, which costs half a minute or more at the start; "
        "has no effect on MCTformer and on a boundary network with a ResNet.",
    )
    workers: int = option(1, "Number of Ray Train workers.", low=1, high=4_096)
    shuffle_rows: int = option(
        256, "Decoded rows that a worker keeps for local shuffling.", low=1, high=1_000_000
    )

    @property
    def workers_key(self) -> dict[str, str]:
        """The key entries of trainings on several workers.

        Losses are means over all workers, and each worker draws random numbers of its own.
        """
        entries = {"means": "over all workers", "random": "of each worker"}
        return {} if self.workers == 1 else entries

    @property
    def precision_key(self) -> dict[str, str]:
        """The key entry of a classifier's training in bf16: means and prototypes are float32."""
        return {"means in bf16": "float32"} if self.precision == "bf16" else {}

    @property
    def unused(self) -> dict[str, str]:
        """The options that have no effect, each with the option and value that replace it."""
        unused = {"momentum": "optimizer adamw"} if self.optimizer == "adamw" else {}
        return unused | ({"power": "schedule deit"} if self.schedule == "deit" else {})

    def at(self, epoch: int) -> Training:
        """Return the options that hold in an epoch, counted from 0, without changes."""
        values: dict[str, float] = {}
        for after, change in parse_changes(self.changes, self.epochs).items():
            values |= change if after <= epoch else {}
        return self._replaced(values)

    @property
    def change_epochs(self) -> tuple[int, ...]:
        """The numbers of epochs after which options change, in order."""
        return tuple(parse_changes(self.changes, self.epochs))

    def before(self, epochs: int) -> Training:
        """Return the options without the changes that come after `epochs` epochs or later."""
        early = sum(after < epochs for after in self.change_epochs)
        return self._replaced({}, self.changes[:early])

    def _replaced(self, values: dict[str, float], changes: tuple[str, ...] = ()) -> Training:
        return cast(Training, dataclasses.replace(cast(Any, self), changes=changes, **values))

    def __post_init__(self) -> None:
        if self.changes:
            changes = parse_changes(self.changes, self.epochs)
            for after, values in changes.items():
                if idle := [name for name in values if name in self.unused]:
                    raise FieldError(
                        f"changes after {after} epochs: {idle[0]} has no effect with "
                        f"{self.unused[idle[0]]}; leave it out",
                        "changes",
                    )
                try:
                    self._replaced(values)
                except FieldError as error:
                    raise FieldError(f"changes after {after} epochs: {error}", "changes") from None
            texts = tuple(change_text(after, values) for after, values in changes.items())
            object.__setattr__(self, "changes", texts)  # one spelling, which enters keys
        for name in ("resize", "rescale", "area"):
            span = getattr(self, name)
            if span and span[0] > span[1]:
                raise FieldError(f"{name} is {span!r}; the smaller value must come first", name)
