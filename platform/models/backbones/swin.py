"""Swin transformers as backbones (Liu et al., ICCV 2021; torchvision).

Shapes: B batch, D channels, H W grid; torchvision keeps channels last.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from .base import STAGES, SequentialBackbone

DROP_PATH = 0.3
"""Largest probability of skipping a block in training (mmsegmentation; torchvision has 0.2)."""


class Swin(SequentialBackbone):
    """A Swin transformer in four stages at strides 4 to 32; c4 is normalised.

    Args:
        backbone: `SwinTransformer` of torchvision, whose classifier is not kept.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        import torchvision

        self.features, self.norm = backbone.features, backbone.norm
        width = int(backbone.norm.normalized_shape[0])
        self.channels = (width // 8, width // 4, width // 2, width)
        drops = [m for m in backbone.modules() if isinstance(m, torchvision.ops.StochasticDepth)]
        highest = max(m.p for m in drops)
        for module in drops:
            module.p *= DROP_PATH / highest

    def stage_modules(self, name: str) -> list[nn.Module]:
        number = 2 * STAGES.index(name)
        modules: list[nn.Module] = [self.features[number], self.features[number + 1]]
        return [*modules, self.norm] if name == "c4" else modules

    def blocks(self, name: str) -> list[nn.Module]:
        return list(self.features[2 * STAGES.index(name) + 1].children())

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        return []

    def stage(self, name: str, x: Tensor) -> Tensor:
        if name == "c1":  # zeros complete the last patches of 4 x 4 pixels
            x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        else:
            x = x.permute(0, 2, 3, 1)
        for module in self.stage_modules(name):
            x = module(x)
        return x.permute(0, 3, 1, 2)

    def dilate(self) -> None:
        """Refuse, because windows of attention cannot be dilated.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a Swin backbone cannot be dilated for the segmenter deeplabv2; use the segmenter "
            "upernet"
        )
