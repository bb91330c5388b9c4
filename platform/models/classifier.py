"""The multi-label classifier that class activation maps are read from.

Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.maps import merge_flip
from ..ops.precision import wide_type
from .backbones import Backbone
from .network import Trainable


class Classifier(Trainable):
    """An image classifier: a backbone, global average pooling, a 1x1 convolution without bias.

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
        """The weight vector of each class, `[N,D]`, summed over the kernel of the head.

        With a larger kernel than 1x1 it gives the scores of a constant map, away from its border.
        Localizers that cluster features read weights and bias of `head` from the network's file.
        """
        return self.head.weight.sum((2, 3))

    @property
    def class_bias(self) -> Tensor | None:
        """The bias of each class, `[N]`; None for a head without."""
        return self.head.bias

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the stages c1..c4 of images `[B,3,H,W]`, each `[B,D,H,W]` on its own grid."""
        out: dict[str, Tensor] = self.backbone(images)
        return out

    def activations(self, images: Tensor) -> Tensor:
        """Return the class scores `[B,N,H,W]` of images before pooling, unrectified."""
        out: Tensor = self.head(self.features(images)["c4"])
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[B,N]` of images `[B,3,H,W]`.

        Padding takes part in the average, as in IRN.
        """
        pooled = F.adaptive_avg_pool2d(self.features(images)["c4"], 1)
        logits: Tensor = self.head(pooled)
        return logits.flatten(1)


def with_kept_features(network: Classifier, images: Tensor) -> Classifier:
    """Return a network that keeps the features of one batch, to compute them only once.

    It shares all modules with the given network and is of the same class, so that whatever a
    subclass changes holds for it too.

    Args:
        network: the classifier that computes features.
        images: `[B,3,H,W]`, the batch whose features are kept.
    """
    stages = network.features(images)

    def features(others: Tensor) -> dict[str, Tensor]:
        same = others is images or (others.shape == images.shape and torch.equal(others, images))
        return stages if same else network.features(others)

    memo = copy.copy(network)
    memo.features = features  # type: ignore[method-assign, assignment]
    return memo


def class_activation_maps(network: Classifier, images: Tensor) -> Tensor:
    """Return the rectified class scores of each position, summed over image and mirror image.

    Source: IRN make_cam (ReLU before the sum).

    Args:
        network: a classifier.
        images: `[B,3,H,W]`.

    Returns:
        `[B,N,h,w]`.
    """
    maps = F.relu(network.activations(torch.cat([images, images.flip(-1)])))
    return merge_flip(*maps.chunk(2))


def classification_loss(network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Return the multi-label soft margin loss: binary cross-entropy, mean over classes and images.

    Source: IRN train_cam.

    Args:
        network: a classifier.
        images: `[B,3,H,W]`.
        labels: `[B,N]`, 0 or 1.
    """
    return soft_margin(network.activations(images), labels)


def soft_margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the multi-label soft margin loss of class scores before pooling.

    The scores are averaged in float32 at least.

    Args:
        scores: `[B,N,h,w]`, unrectified.
        labels: `[B,N]`, 0 or 1.
    """
    pooled = scores.mean((-2, -1), dtype=wide_type(scores))
    return F.multilabel_soft_margin_loss(pooled, labels)
