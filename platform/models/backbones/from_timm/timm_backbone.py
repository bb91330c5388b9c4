"""The base class of backbones that timm builds.

Images come normalised with the mean and deviation of ImageNet, whatever the backbone; a network
with a mean and deviation of its own normalises them anew at its input.
Shapes: B batch, D channels, H W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..base import Backbone


class TimmBackbone(Backbone):
    """A network of timm without its classifier, `network`, with random weights.

    Args:
        name: timm's name of the network, with or without a tag such as `.augreg_in21k`.
        options: further arguments of `timm.create_model`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        self.network = self._create(name, **options)
        config: Any = self.network.pretrained_cfg
        imagenet = (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD))
        own = (tuple(config["mean"]), tuple(config["std"]))
        (mean, deviation), (own_mean, own_deviation) = torch.tensor(imagenet), torch.tensor(own)
        scale, shift = deviation / own_deviation, (mean - own_mean) / own_deviation
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)
        self.normalized_anew = own != imagenet

    def normalized(self, images: Tensor) -> Tensor:
        """Return images normalised with the network's own mean and deviation.

        Args:
            images: `[B,3,H,W]`, normalised with the mean and deviation of ImageNet.
        """
        return images * self.scale + self.shift if self.normalized_anew else images

    @staticmethod
    def _create(name: str, **options: Any) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
        return network


def freeze_all_but(module: nn.Module, used: list[nn.Parameter]) -> None:
    """Take the gradient from all parameters of a module but those that are used.

    Distributed training waits for the gradient of every parameter that takes one.
    """
    kept = {id(parameter) for parameter in used}
    for parameter in module.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)
