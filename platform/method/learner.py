"""The interface of a learner: a network that Ray Train trains, its losses and hooks.

Methods are learners, and so are the refiner's boundary network and the segmenter.
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

PADDING = 255
"""The value of a plane of integers where there is padding."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The tensors of one training step, which never include masks of the data set.

    Attributes:
        images: `[B,3,H,W]`, normalised with ImageNet mean and deviation, zero where padded.
        labels: image labels 0 or 1, float `[B,N]`.
        valid: false where padded, bool `[B,H,W]`.
        plane: long `[B,H,W]`, PADDING where padded, for learners that need it: superpixels for a
            method, pseudo labels for a boundary network or segmenter.
        probabilities: a segmenter's probabilities for methods with a baseline, float
            `[B,N+1,h,w]` with one position for 8 x 8 pixels, background first, zero where padded.
    """

    images: Tensor
    labels: Tensor
    valid: Tensor
    plane: Tensor | None = None
    probabilities: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = {k: v for k, v in vars(self).items() if v is not None}
        return Batch(**{k: v.to(device, non_blocking=True) for k, v in tensors.items()})


class Learner(ABC):
    """A network to train and the losses that its training minimises.

    State that training changes lives in buffers of the network, so that checkpoints hold it.
    """

    name: ClassVar[str]
    """The name of the learner."""
    least_images: ClassVar[int] = 1
    """The smallest number of images that each worker needs in a step."""
    advice: ClassVar[str] = ""
    """Further advice for a training that diverges, for the end of a sentence."""

    @abstractmethod
    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Trainable:
        """Return the network to train.

        Args:
            classes: N.
            backbone: the backbone of the network, with weights.
            frozen_stages: number of first stages that take no gradient.
        """

    @abstractmethod
    def losses(self, network: Any, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the loss terms by name; training minimises their sum.

        The terms are finite on a batch with no positive label, with all labels positive, or with
        one valid pixel.

        Args:
            network: network in training mode.
            batch: images and labels of one step.
            progress: share of the training that is done, 0..1.
        """

    @property
    def superpixels(self) -> str:
        """Return the kind of superpixels that training needs; empty: it needs none.

        The kinds are `stages.labels.superpixels.KINDS`.
        """
        return ""

    def check_files(self) -> None:  # noqa: B027
        """Check the files that training reads beside the weights of the network.

        Raises:
            InputError: a file does not suit the learner.
        """

    def on_epoch_start(self, network: Any, epoch: int) -> None:  # noqa: B027
        """Prepare an epoch; called on every worker before each epoch."""

    def after_training(self, network: Any) -> None:  # noqa: B027
        """Finish the training; called on every worker after the last epoch."""
