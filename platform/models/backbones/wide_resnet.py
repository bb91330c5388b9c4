"""WideResNet-38 (Wu, Shen, van den Hengel 2019), backbone of PSA, SEAM and MCTformer's segmenter.

Blocks normalise before they convolve. From the fourth block on, the grid stays at stride 8 and
convolutions are dilated, as in the code of these projects. Names of parameters are those of their
weight files.
Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .base import SequentialBackbone


class _Block(nn.Module):
    """A residual block: normalisation and convolution, two or three times, beside a shortcut.

    Args:
        inputs: channels of the input.
        widths: channels after each convolution.
        kernels: side of each convolution's kernel.
        stride: stride of the first convolution.
        dilation: dilation of the 3x3 convolutions.
        first: dilation of the first convolution, where it differs; 0 takes `dilation`.
        dropout: probability of dropout before each convolution but the first.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, ...],
        *,
        kernels: tuple[int, ...] = (3, 3),
        stride: int = 1,
        dilation: int = 1,
        first: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        names, channels = ("2a", "2b1", "2b2")[: len(widths)], (inputs, *widths)
        self.names, self.dropout = names, dropout
        for k, name in enumerate(names):
            rate = (first or dilation) if k == 0 else dilation
            rate = rate if kernels[k] == 3 else 1
            conv = nn.Conv2d(
                channels[k],
                channels[k + 1],
                kernels[k],
                stride if k == 0 else 1,
                rate * (kernels[k] // 2),
                rate,
                bias=False,
            )
            self.add_module(f"bn_branch{name}", nn.BatchNorm2d(channels[k]))
            self.add_module(f"conv_branch{name}", conv)
        if inputs != widths[-1] or stride > 1:
            self.conv_branch1 = nn.Conv2d(inputs, widths[-1], 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B,D,H,W]` to the last width, on the grid that the stride leaves."""
        branch, shortcut = x, x
        for k, name in enumerate(self.names):
            branch = F.relu(self.get_submodule(f"bn_branch{name}")(branch))
            if k == 0 and hasattr(self, "conv_branch1"):
                shortcut = self.conv_branch1(branch)
            if k and self.dropout:
                branch = F.dropout2d(branch, self.dropout, self.training)
            branch = self.get_submodule(f"conv_branch{name}")(branch)
        return shortcut + branch


def _bottleneck(inputs: int, outputs: int, dropout: float) -> _Block:
    widths = (outputs // 4, outputs // 2, outputs)
    return _Block(inputs, widths, kernels=(1, 3, 1), dilation=4, dropout=dropout)


class WideResNet38(SequentialBackbone):
    """WideResNet-38, with 128, 256, 512 and 4096 channels at strides 2, 4, 8 and 8."""

    channels = (128, 256, 512, 4096)
    strides = (2, 4, 8, 8)
    pixel_bytes = 3072

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        width = 64
        for number, (wide, count) in enumerate(((128, 3), (256, 3), (512, 6)), 2):
            for k in range(count):
                block = _Block(width, (wide, wide), stride=2 if k == 0 else 1)
                self.add_module(f"b{number}_{k}" if k else f"b{number}", block)
                width = wide
        self.b5 = _Block(512, (512, 1024), dilation=2, first=1)
        self.b5_1 = _Block(1024, (512, 1024), dilation=2)
        self.b5_2 = _Block(1024, (512, 1024), dilation=2)
        self.b6 = _bottleneck(1024, 2048, 0.3)
        self.b7 = _bottleneck(2048, 4096, 0.5)
        self.bn7 = nn.BatchNorm2d(4096)

    def stage_modules(self, name: str) -> list[nn.Module]:
        starts = {"c1": ("conv1a", "b2"), "c2": ("b3",), "c3": ("b4",), "c4": ("b5", "b6", "b7")}
        names = [n for n, _ in self.named_children() if n.split("_")[0] in starts[name]]
        last = [self.bn7] if name == "c4" else []
        return [*(self.get_submodule(n) for n in names), *last]

    def blocks(self, name: str) -> list[nn.Module]:
        return [m for m in self.stage_modules(name) if isinstance(m, _Block)]

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        return []

    def stage(self, name: str, x: Tensor) -> Tensor:
        for module in self.stage_modules(name):
            x = module(x)
        return F.relu(x) if name == "c4" else x

    def dilate(self) -> None:
        """Change nothing, because the output stride is 8 already."""
