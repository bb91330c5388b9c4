"""The multi-label classifier that class activation maps are read from.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.maps import merge_flip
from .backbones import Backbone
from .network import Trainable


class Classifier(Trainable):
    """A backbone, global average pooling and a 1x1 convolution without bias.

    Args:
        backbone: gives the stages c1 to c4.
        classes: foreground classes N.
        frozen_stages: how many of the first stages take no gradient. IRN detaches after
            layer2, which is 2; LPCAM, ReCAM and AdvCAM removed that, which is 0.
    """

    def __init__(self, backbone: Backbone, classes: int, frozen_stages: int = 0) -> None:
        super().__init__(backbone, frozen_stages)
        self.head = nn.Conv2d(backbone.channels[3], classes, 1, bias=False)

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
