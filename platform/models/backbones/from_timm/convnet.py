"""Convolutional networks of timm as backbones, with the stages that timm names.

Shapes: B batch, D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....errors import InputError
from ..base import STAGES
from .layout import UNSUITED, Layout, layout_of, stages_of
from .resampling import linear_weights, resampled
from .timm_backbone import TimmBackbone, freeze_all_but


class ConvNet(TimmBackbone):
    """A convolutional network of timm, or another one with four stages on grids.

    c4 is what the network's own classifier pools, at stride 16 where the architecture takes an
    output stride, and else at its own stride, mostly 32. Networks that leave out pixels at the
    right and lower border get images with zeros there, and their stages are resampled from the
    padded image to the image.

    Args:
        name: timm's name of the network.

    Raises:
        InputError: the network has no four stages on grids.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        layout, stride = self._layout(16)
        super().__init__(name, **({"output_stride": stride} if stride else {}))
        self._take(layout)
        freeze_all_but(self.network, [p for s in STAGES for p in self.stage_parameters(s)])

    def _layout(self, stride: int) -> tuple[Layout, int | None]:
        """Return the stages at an output stride, or at the network's own, and the stride taken."""
        try:
            return layout_of(self.name, stride), stride
        except InputError:
            raise
        except UNSUITED:
            return layout_of(self.name, None), None

    def _take(self, layout: Layout) -> None:
        self.layout = layout
        self.channels, self.strides = layout.channels, layout.strides
        self.pixel_bytes = layout.pixel_bytes

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        names = self.layout.parameters[STAGES.index(name)]
        return [p for key, p in self.network.named_parameters() if key in names]

    def first_stages(self, images: Tensor, count: int) -> dict[str, Tensor]:
        images = self.normalized(images)
        size, missing = images.shape[2:], (0, 0)
        if not self.layout.any_size:
            missing = (-size[0] % self.strides[3], -size[1] % self.strides[3])
            images = F.pad(images, (0, missing[1], 0, missing[0]))
        stages = stages_of(self.network, images, self.layout.levels[:count])
        if missing != (0, 0):
            whole = [stage.float() if self.halved else stage for stage in stages]
            pairs = zip(whole, self.strides, strict=False)
            stages = [self._covering(stage, stride, (size[0], size[1])) for stage, stride in pairs]
        return dict(zip(STAGES, stages, strict=False))

    @staticmethod
    def _covering(maps: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        """Return maps of a padded image resampled to cover the image alone.

        Args:
            maps: `[B,D,h,w]`, each cell the middle of `stride` x `stride` pixels.
            stride: pixels per cell.
            size: height and width of the image, pixels.

        Returns:
            `[B,D,ceil(H/stride),ceil(W/stride)]`, bilinear at the middle of each cell.
        """
        weights = []
        for count, side in zip(maps.shape[2:], size, strict=True):
            cells = -(-side // stride)
            weights.append(linear_weights(count, cells, cells * stride / side, maps))
        return resampled(maps, weights[0], weights[1])

    def dilate(self) -> None:
        layout, stride = self._layout(8)
        if stride is None:
            raise InputError(
                f"timm:{self.name} cannot be dilated for the segmenter deeplabv2; use the "
                "segmenter upernet"
            )
        old = self.network
        self.network = self._create(self.name, output_stride=stride)
        self.network.load_state_dict(old.state_dict())
        for new, parameter in zip(self.network.parameters(), old.parameters(), strict=True):
            new.requires_grad_(parameter.requires_grad)
        self._take(layout)

    def rectified_blocks(self, name: str) -> list[nn.Module]:
        """Return those of the blocks of stage `name` whose outputs `[B,D,H,W]` are rectified.

        Whether a block's output is rectified shows in its values on noise; where this network is on
        the device `meta` and has none, in those of one with random values, built once for a name.
        """
        blocks = self._blocks(name)
        if self.scale.is_meta:
            return [blocks[number] for number in _rectified_blocks(self.name)[name]]
        lowest: dict[int, float] = {}

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                lowest[id(module)] = float(output.min())

        noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        handles = [block.register_forward_hook(note) for block in blocks]
        training = self.training
        try:
            with torch.no_grad():
                self.eval().first_stages(noise.to(self.scale.device), len(STAGES))
        finally:
            self.train(training)
            for handle in handles:
                handle.remove()
        return [block for block in blocks if lowest.get(id(block), -1.0) >= 0]

    def _blocks(self, name: str) -> list[nn.Module]:
        """Return the modules of a stage whose outputs follow each other.

        They are the children of the module that timm names for the stage, or the module itself,
        and for c4 the modules after it.
        """
        number = STAGES.index(name)
        module_name = self.layout.modules[number]
        module = self.network.get_submodule(module_name)
        children = [m for m in module.children() if any(True for _ in m.parameters())]
        out = children or [module]
        if name == "c4":
            used = self.layout.parameters[number]
            for child_name, child in self.network.named_children():
                names = [f"{child_name}.{key}" for key, _ in child.named_parameters()]
                inside = f"{module_name}.".startswith(f"{child_name}.")
                if names and used.issuperset(names) and not inside:
                    out.append(child)
        return out


@lru_cache(maxsize=64)
def _rectified_blocks(name: str) -> Mapping[str, tuple[int, ...]]:
    """Return the numbers of the rectified blocks of each stage of a network with random values.

    Random numbers that are drawn later stay as they would be.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=()):
        network = ConvNet(name)
        numbers = {}
        for stage in STAGES:
            rectified = {id(block) for block in network.rectified_blocks(stage)}
            blocks = enumerate(network._blocks(stage))
            numbers[stage] = tuple(k for k, block in blocks if id(block) in rectified)
    return numbers
