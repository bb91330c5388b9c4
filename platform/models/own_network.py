"""Networks of a user, made elsewhere, as classifiers that a localizer can read.

Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbones import STAGES, Backbone
from .classifier import Classifier


class OwnBackbone(Backbone):
    """A module of a user in place of a backbone.

    Args:
        module: returns the features of images `[B,3,H,W]`: the last ones, `[B,D,h,w]`, or all by
            stage, `{"c1": ..., "c4": ...}`.
        channels: channels of the last features.
    """

    def __init__(self, module: nn.Module, channels: int) -> None:
        super().__init__()
        self.module = module
        self.channels = (0, 0, 0, channels)

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        return []

    def first_stages(self, images: Tensor, count: int) -> dict[str, Tensor]:
        out = self.module(images)
        stages = dict(out) if isinstance(out, Mapping) else {"c4": out}
        last = stages.get("c4")
        if not isinstance(last, Tensor) or last.ndim != 4 or last.shape[1] != self.channels[3]:
            shape = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
            raise InputError(
                f"the features of your network are {shape}; return [B,{self.channels[3]},h,w], or "
                f"a dict of {', '.join(STAGES)} with such a c4"
            )
        return stages


def as_classifier(features: nn.Module, class_weights: Tensor) -> Classifier:
    """Return a trained network of your own as a classifier, in evaluation mode.

    Example:
        >>> own = torchvision.models.resnet18(num_classes=20)
        >>> as_classifier(nn.Sequential(*list(own.children())[:-2]), own.fc.weight)

    Args:
        features: returns the features of images `[B,3,H,W]` before pooling: `[B,D,h,w]`, or a dict
            of the stages c1 to c4.
        class_weights: weight vector of each class, `[N,D]`, of the linear layer after pooling.

    Raises:
        InputError: the weights are not `[N,D]`.
    """
    if class_weights.ndim != 2:
        raise InputError(
            f"class_weights are {tuple(class_weights.shape)}; give the weight of the last linear "
            "layer, [N,D]"
        )
    classes, channels = class_weights.shape
    network = Classifier(OwnBackbone(features, channels), classes)
    with torch.no_grad():
        network.head.weight.copy_(class_weights[:, :, None, None])
    return network.to(class_weights.device).eval()
