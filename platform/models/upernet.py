"""The segmenter UperNet: a feature pyramid over all stages of a backbone (Xiao et al., ECCV 2018).

Widths, pooling and the auxiliary head are those of mmsegmentation for Swin.
Shapes: B batch, C classes with background, H W pixels, h w grid of c1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones import STAGES, Backbone
from .network import ParameterGroup
from .segmenter import SegmentationNetwork

WIDTH, POOLS, AUXILIARY = 512, (1, 2, 3, 6), 256
AUXILIARY_WEIGHT = 0.4


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class UperNet(SegmentationNetwork):
    """A segmenter with a feature pyramid and, on its last stage, pyramid pooling.

    Args:
        backbone: gives the stages c1 to c4; the first three of a Swin are normalised here.
        classes: C.
        frozen_stages: how many of the first stages take no gradient.
    """

    def __init__(self, backbone: Backbone, classes: int, frozen_stages: int = 0) -> None:
        super().__init__(backbone, frozen_stages)
        channels = backbone.channels
        transformer = any(isinstance(m, nn.LayerNorm) for m in backbone.modules())
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels[:3] if transformer)
        self.pools = nn.ModuleList(_conv(channels[3], WIDTH, 1) for _ in POOLS)
        self.top = _conv(channels[3] + len(POOLS) * WIDTH, WIDTH, 3)
        self.lateral = nn.ModuleList(_conv(c, WIDTH, 1) for c in channels[:3])
        self.smooth = nn.ModuleList(_conv(WIDTH, WIDTH, 3) for _ in channels[:3])
        self.join = _conv(len(STAGES) * WIDTH, WIDTH, 3)
        self.classify = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(WIDTH, classes, 1))
        self.auxiliary = nn.Sequential(
            _conv(channels[2], AUXILIARY, 3), nn.Dropout2d(0.1), nn.Conv2d(AUXILIARY, classes, 1)
        )

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return the stages c1 to c4; all stages of a transformer are normalised."""
        stages: dict[str, Tensor] = self.backbone(images)
        for name, norm in zip(STAGES, self.norms, strict=False):
            stages[name] = norm(stages[name].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return stages

    def decode(self, stages: Mapping[str, Tensor]) -> Tensor:
        """Return the logits `[B,C,h,w]` on the grid of c1 from the stages c1 to c4."""
        top = stages["c4"]
        pooled = [
            _resized(conv(F.adaptive_avg_pool2d(top, size)), top)
            for conv, size in zip(self.pools, POOLS, strict=True)
        ]
        x = self.top(torch.cat([top, *pooled], 1))
        levels = [x]
        for number in (2, 1, 0):
            side = self.lateral[number](stages[STAGES[number]])
            x = side + _resized(x, side)
            levels.append(self.smooth[number](x))
        fine = levels[-1]
        out: Tensor = self.classify(self.join(torch.cat([_resized(v, fine) for v in levels], 1)))
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[B,C,h,w]` of images `[B,3,H,W]`."""
        return self.decode(self.stages(images))

    def logits_by_view(self, images: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits of images at full size alone, as training does; `scales` are unused."""
        return [self(images)]

    def supervised_logits(
        self, images: Tensor, scales: Sequence[float]
    ) -> list[tuple[float, Tensor]]:
        """Return the logits and the auxiliary logits on c3, each with its weight.

        Training looks at one scale only; `scales` are unused.
        """
        stages = self.stages(images)
        return [(1.0, self.decode(stages)), (AUXILIARY_WEIGHT, self.auxiliary(stages["c3"]))]

    def parameter_groups(
        self, head_factor: float, lr: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return the parameter groups for the optimiser: backbone and head, each in two groups.

        Layer normalisation and the tables of relative positions of a transformer take no weight
        decay.
        """
        groups = super().parameter_groups(head_factor, lr, weight_decay)
        exempt = {
            id(p) for n, p in self.named_parameters() if n.endswith("relative_position_bias_table")
        }
        norms = (m for m in self.modules() if isinstance(m, nn.LayerNorm))
        exempt |= {id(p) for m in norms for p in m.parameters()}
        out: list[ParameterGroup] = []
        for group in groups:
            free = [p for p in group["params"] if id(p) in exempt]
            decayed = [p for p in group["params"] if id(p) not in exempt]
            out += [{**group, "params": decayed}, {**group, "params": free, "weight_decay": 0.0}]
        return [group for group in out if group["params"]]
