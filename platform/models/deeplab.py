"""The segmenter DeepLabV2: a backbone and atrous spatial pyramid pooling (Chen et al., TPAMI 2018).

Numbers follow kazuto1011/deeplab-pytorch. The backbone has torchvision's layout, so that weight
files of torchvision fit; the Caffe model strides in the first convolution of a block instead.
Shapes: B batch, C classes with background, H W pixels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backbones import Backbone
from .network import ParameterGroup
from .segmenter import SegmentationNetwork

RATES = (6, 12, 18, 24)


class DeepLabV2(SegmentationNetwork):
    """A segmenter whose logits are the sum of four dilated 3x3 convolutions on the last stage.

    Args:
        backbone: gives the stages c1 to c4.
        classes: C.
        frozen_stages: how many of the first stages take no gradient.
        rates: dilation of each convolution.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        frozen_stages: int = 0,
        rates: Sequence[int] = RATES,
    ) -> None:
        super().__init__(backbone, frozen_stages)
        width = backbone.channels[3]
        convs = [nn.Conv2d(width, classes, 3, padding=r, dilation=r) for r in rates]
        self.aspp = nn.ModuleList(convs)
        for module in backbone.modules() if backbone.pretrained else ():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        for conv in convs:
            assert conv.bias is not None
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[B,C,h,w]` of images `[B,3,H,W]`."""
        x = self.backbone(images)["c4"]
        return torch.stack([conv(x) for conv in self.aspp]).sum(0)

    def parameter_groups(
        self, head_factor: float, lr: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return the parameter groups for the optimiser.

        The backbone learns at `lr`, pyramid weights at `lr * head_factor`, pyramid biases at twice
        that rate and without decay. Batch normalisation of a pretrained backbone is fixed.
        """
        backbone = [p for p in self.backbone.parameters() if p.requires_grad]
        groups: list[ParameterGroup] = [
            {"params": backbone, "lr": lr, "weight_decay": weight_decay},
            {
                "params": [p for n, p in self.aspp.named_parameters() if n.endswith("weight")],
                "lr": lr * head_factor,
                "weight_decay": weight_decay,
            },
            {
                "params": [p for n, p in self.aspp.named_parameters() if n.endswith("bias")],
                "lr": 2 * lr * head_factor,
                "weight_decay": 0.0,
            },
        ]
        return [group for group in groups if group["params"]]
