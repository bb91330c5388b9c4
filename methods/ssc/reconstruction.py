"""The reconstruction of SSC: the decoder, and features by which its picture is compared.

Shapes: B batch, N foreground classes, C channels, H W image, h w grid of the class maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...platform.models import backbones, weights
from ...platform.models.backbones import Backbone
from ...platform.models.network import SeparatelyTrained
from ...platform.ops.collectives import norm_over_workers

VGG_TAPS = {"last": (3, 8, 17, 26, 35), None: (1, 6, 11, 20, 29)}
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
STAGE_WEIGHTS = (1 / 2, 1)


class LayerNorm(nn.Module):
    """Normalisation of each sample over channels and positions, with a scale and shift by channel.

    As in MUNIT: the deviation is unbiased, epsilon is added to it, and scales are drawn from 0..1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        mean, deviation = flat.mean(1), flat.std(1)
        shape = (-1, 1, 1, 1)
        x = (x - mean.view(shape)) / (deviation.view(shape) + 1e-5)
        return x * self.gamma.view(1, -1, 1, 1) + self.beta.view(1, -1, 1, 1)


class Reconstruction(SeparatelyTrained):
    """Decoder from raw class maps to an image in -1..1, `growth` times as large (Table I).

    Args:
        classes: N.
        growth: ratio of the sides, 16 in the paper, at least 2; a smaller power of two leaves out
            the first upsampling steps, and a larger one repeats the very first.
    """

    def __init__(self, classes: int = 20, growth: int = 16) -> None:
        super().__init__()
        head = nn.Conv2d(classes, 256, 3, 1, 1, bias=False, padding_mode="reflect")
        self.head = nn.Sequential(head, LayerNorm(256), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(256, 256, 3, 1, 1),
            LayerNorm(256),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1),
            LayerNorm(256),
        )
        count = growth.bit_length() - 1
        outputs = (*[256] * (count - 4), *(256, 128, 64, 32)[-count:])
        steps = zip((256, *outputs), outputs, strict=False)
        self.ups = nn.Sequential(*(self._up(a, b) for a, b in steps))
        self.tail = nn.Sequential(nn.Conv2d(32, 3, 3, 1, 1), nn.Tanh())

    @staticmethod
    def _up(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.ConvTranspose2d(inputs, inputs, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, 1, 1),
            LayerNorm(outputs),
            nn.ReLU(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the image `[B,3,16h,16w]` (16: growth) from raw class maps `[B,N,h,w]`."""
        x = self.head(maps)
        out: Tensor = self.tail(self.ups(x + self.residual(x)))
        return out

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam as in the authors' code; the paper is silent."""
        return torch.optim.Adam(self.parameters(), lr=5e-4, betas=(0.5, 0.999))


class VGGFeatures(nn.Module):
    """Five features of VGG-19, which is never trained.

    Args:
        file: local file of torchvision's weights.
        taps: key of `VGG_TAPS`.
    """

    shares = VGG_WEIGHTS

    def __init__(self, file: str, taps: str | None) -> None:
        super().__init__()
        from torchvision.models import vgg

        layers: nn.Sequential = vgg.make_layers(vgg.cfgs["E"])
        weights.load(nn.ModuleDict({"features": layers}), file, "vgg19")
        self.taps = VGG_TAPS[taps]
        self.layers = layers[: self.taps[-1] + 1].eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        out, x = [], images
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.taps:
                out.append(x)
        return out


class EarlyStages(nn.Module):
    """Stages c1 and c2 of a backbone."""

    shares = STAGE_WEIGHTS

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.backbone.first_stages(images, 2).values())


def published_stages(backbone: str, file: str) -> EarlyStages:
    """Return the first stages of a backbone with weights of a local file, never trained."""
    network = backbones.build(backbone)
    weights.load(network, file, backbone)
    return EarlyStages(network).eval().requires_grad_(False)


def without_gradient(module: nn.Module) -> Callable[[Tensor], Sequence[Tensor]]:
    """Return a call of a module that neither trains its parameters nor changes its buffers."""
    state = {k: v.detach() for k, v in module.named_parameters()}
    state |= {k: v.clone() for k, v in module.named_buffers()}

    def call(images: Tensor) -> Sequence[Tensor]:
        out: Sequence[Tensor] = torch.func.functional_call(module, state, (images,))
        return out

    return call


def perceptual_distance(
    features: Callable[[Tensor], Sequence[Tensor]],
    shares: Sequence[float],
    picture: Tensor,
    images: Tensor,
) -> Tensor:
    """Return the weighted mean distance of the features of picture and image (Eqs. 5 and 6).

    Args:
        features: function that returns one tensor for each share.
        shares: weight of each feature.
        picture: `[B,3,H,W]`.
        images: `[B,3,H,W]`; they take no gradient.
    """
    with torch.no_grad():
        targets = features(images)
    pairs = zip(shares, features(picture), targets, strict=True)
    return torch.stack([w * (a - b).abs().mean() for w, a, b in pairs]).sum()


class _GradientLength(torch.autograd.Function):
    """The identity, whose gradient is scaled to a length."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, length: Tensor) -> Tensor:
        ctx.save_for_backward(length)
        return maps.view_as(maps)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        (length,), (gradient,) = ctx.saved_tensors, gradients  # type: ignore[attr-defined]
        norm = norm_over_workers(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
        return gradient * (length / norm).to(gradient), None


def with_gradient_of(maps: Tensor, loss: Tensor, share: float) -> Tensor:
    """Return the same maps, whose gradient gets a share of the length of that of another loss.

    Args:
        maps: any shape; input of a further network.
        loss: loss whose gradient at `maps` is the measure, over the batches of all workers.
        share: length of the gradient that comes back from the further network, in lengths
            (L2) of the gradient of `loss`.
    """
    (gradient,) = torch.autograd.grad(loss, maps, retain_graph=True)
    out: Tensor = _GradientLength.apply(maps, share * norm_over_workers(gradient))
    return out
