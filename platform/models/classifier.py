"""The multi-label classifier that class activation maps are read from.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.maps import merge_flip
from .backbones import STAGES, Backbone

M = TypeVar("M", bound=nn.Module)


class Separate(nn.Module, ABC):
    """A module among a network's extras that is trained by an optimiser of its own."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Of all its parameters; its learning rate decays like the others."""


class Classifier(nn.Module):
    """A backbone, global average pooling and a 1x1 convolution without bias.

    `extras` holds what methods add, by their names.

    Args:
        backbone: gives the stages c1 to c4.
        classes: foreground classes N.
        frozen_stages: how many of the first stages take no gradient. IRN detaches after
            layer2, which is 2; LPCAM, ReCAM and AdvCAM removed that, which is 0.
    """

    def __init__(self, backbone: Backbone, classes: int, frozen_stages: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.channels[3], classes, 1, bias=False)
        self.extras = nn.ModuleDict()
        for name in STAGES[:frozen_stages]:
            for module in backbone.stage_modules(name):
                module.requires_grad_(False)

    def extra(self, name: str, kind: type[M]) -> M:
        """What the method `name` added to the network."""
        found = self.extras[name]
        assert isinstance(found, kind)
        return found

    @property
    def class_weights(self) -> Tensor:
        """`[N,D]`: the weight vector of each class."""
        return self.head.weight.flatten(1)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """`[B,3,H,W]` to the stages c1..c4, each `[B,D,H,W]` on its own grid."""
        out: dict[str, Tensor] = self.backbone(images)
        return out

    def activations(self, images: Tensor) -> Tensor:
        """`[B,N,H,W]`: the class scores before pooling, unrectified."""
        out: Tensor = self.head(self.features(images)["c4"])
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B,N]`. Padding takes part in the average, as in IRN."""
        pooled = F.adaptive_avg_pool2d(self.features(images)["c4"], 1)
        logits: Tensor = self.head(pooled)
        return logits.flatten(1)

    def train(self, mode: bool = True) -> Classifier:
        """Training mode; a pretrained body keeps its running statistics (IRN)."""
        super().train(mode)
        for module in self.modules() if self.backbone.pretrained else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def groups(self, head_factor: float, lr: float, weight_decay: float) -> list[dict[str, object]]:
        """Parameter groups for the optimiser: the backbone at `lr`, the rest at a multiple.

        Parameters of `Separate` modules are in no group.
        """
        body = [p for p in self.backbone.parameters() if p.requires_grad]
        others = [self.backbone, *(m for m in self.extras.values() if isinstance(m, Separate))]
        inside = {id(p) for module in others for p in module.parameters()}
        head = [p for p in self.parameters() if id(p) not in inside and p.requires_grad]
        groups = [
            {"params": body, "lr": lr, "weight_decay": weight_decay},
            {"params": head, "lr": lr * head_factor, "weight_decay": weight_decay},
        ]
        return [group for group in groups if group["params"]]


class Memo(Classifier):
    """A network that computes the features of one batch of images once."""

    def __init__(self, network: Classifier, images: Tensor) -> None:
        nn.Module.__init__(self)
        self.network, self.images = network, images
        self.backbone, self.head, self.extras = network.backbone, network.head, network.extras
        self.stages = network.features(images)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        same = images is self.images or (
            images.shape == self.images.shape and torch.equal(images, self.images)
        )
        return self.stages if same else self.network.features(images)


def class_activation_maps(network: Classifier, images: Tensor) -> Tensor:
    """ReLU of the class scores of each position, image plus mirror image.

    `[B,3,H,W]` to `[B,N,h,w]`. Source: IRN make_cam (ReLU before the sum).
    """
    maps = F.relu(network.activations(torch.cat([images, images.flip(-1)])))
    return merge_flip(*maps.chunk(2))


def classification_loss(network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin: binary cross-entropy, mean over classes and images.

    `[B,3,H,W]`, `[B,N]` to a scalar. Source: IRN train_cam.
    """
    return soft_margin(network.activations(images), labels)


def soft_margin(scores: Tensor, labels: Tensor) -> Tensor:
    """`classification_loss` from class scores before pooling, unrectified, `[B,N,h,w]`."""
    return F.multilabel_soft_margin_loss(scores.mean((-2, -1)), labels)
