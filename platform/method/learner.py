"""What Ray Train trains: a network, its losses and the hooks around them.

Methods are learners; so are the networks of refinement and segmentation.
Shapes: B batch, N foreground classes, H W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..models.backbones import Backbone
from ..models.network import Trainable

OUTSIDE = 255
"""What a plane of integers holds where there is padding."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step sees; the data set's masks are not among it.

    `images` `[B,3,H,W]` normalised with ImageNet mean and deviation, zero where padded;
    `labels` float `[B,N]` of 0 and 1; `valid` bool `[B,H,W]`, false where padded;
    `plane` long `[B,H,W]`, OUTSIDE where padded, for learners that ask for one: superpixels of a
    method, pseudo labels of a refiner or segmenter;
    `probabilities` float `[B,N+1,h,w]`, background first, zero where padded, for methods with a
    baseline: what a segmenter says, a position for each 8 x 8 pixels.
    """

    images: Tensor
    labels: Tensor
    valid: Tensor
    plane: Tensor | None = None
    probabilities: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        tensors = {k: v for k, v in vars(self).items() if v is not None}
        return Batch(**{k: v.to(device, non_blocking=True) for k, v in tensors.items()})


class Learner(ABC):
    """A network to train and what its training minimises.

    State that training changes lives in buffers of the network, so checkpoints carry it.
    """

    name: ClassVar[str]
    least: ClassVar[int] = 1
    """Images a step and worker that it needs at least."""
    advice: ClassVar[str] = ""
    """What else helps when its training diverges, for the end of a sentence."""

    @abstractmethod
    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Trainable:
        """The network to train.

        Args:
            classes: N.
            backbone: its backbone, with weights.
            frozen_stages: first stages that take no gradient.
        """

    @abstractmethod
    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Named loss terms; their sum is minimised.

        Finite on a batch with no positive label, with all of them, with one valid pixel.

        Args:
            network: in training mode.
            batch: one step's images and labels.
            progress: share of the training that is done, 0..1.
        """

    @property
    def superpixels(self) -> str:
        """The kind of superpixels that training needs (`stages.labels.superpixels.KINDS`); none:
        ""."""
        return ""

    def on_epoch_start(self, network: Any, epoch: int) -> None:  # noqa: B027
        """Called on every worker before each epoch."""

    def after_training(self, network: Any) -> None:  # noqa: B027
        """Called on every worker after the last epoch."""
