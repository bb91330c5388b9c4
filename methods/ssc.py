"""SSC: class maps that reconstruct the image and follow superpixels (Chen et al., TIP 2024).

A decoder reconstructs the image from the raw class maps, and a fixed network compares the two
(CAM-driven reconstruction). The maps are pulled towards their means over superpixels where these
means are larger (activation self-modulation). No feature may exceed a share of its maximum (DRS).
Shapes: B batch, N foreground classes, C D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..platform.config.experiment import Experiment
from ..platform.config.fields import Options, dataclass, option
from ..platform.config.presets import Preset, irn_default, irn_paper, irn_release, irn_scenes
from ..platform.errors import InputError
from ..platform.method import PADDING, Batch, Method
from ..platform.models import weights
from ..platform.models.backbones import Backbone
from ..platform.models.classifier import Classifier, class_activation_maps, soft_margin
from ..platform.models.network import SeparatelyTrained
from ..platform.ops.maps import normalize

VGG_TAPS = {"last": (3, 8, 17, 26, 35), None: (1, 6, 11, 20, 29)}
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
STAGE_WEIGHTS = (1 / 2, 1)


@dataclass(frozen=True, kw_only=True)
class SSCConfig(Options):
    """Options of SSC; the defaults follow the authors' code."""

    perceptual: float = option(1.0, "Weight of the reconstruction loss (beta_p).", low=0, high=1e6)
    modulation: float = option(1.0, "Weight of the self-modulation loss (beta_a).", low=0, high=1e6)
    warm_up: float = option(
        0.2,
        "Share of the training before self-modulation begins (code: 2 of 10 epochs).",
        low=0,
        high=1,
    )
    settle: float = option(
        0.0,
        "Share of the training in which the reconstruction loss trains only the decoder (neither "
        "paper nor code).",
        low=0,
        high=1,
    )
    delta: float = option(
        0.55, "Limit of a feature, as a share of its channel's maximum; 1: no limit.", low=0, high=1
    )
    threshold: float = option(
        0.3,
        "Activation above which a position counts as reliable, before erosion (Eq. 9).",
        low=0,
        high=1,
    )
    kernel: int = option(
        8, "Side of the erosion's window, in pixels at half resolution.", low=1, high=8_192
    )
    superpixels: Literal["merged", "unmerged", "slic"] = option(
        "merged",
        "Superpixels: merged (to at most 64 regions), unmerged or slic.",
    )
    picture: int = option(
        1,
        "Side of a pixel of the reconstruction in image pixels, a power of two (paper: 1, which on "
        "a CPU costs several times as much as the rest of the step).",
        low=1,
        high=16,
    )
    vgg: str | None = option(
        None,
        "Local file of torchvision's VGG-19 weights, by which images are compared; none: the first "
        "two stages of the backbone instead, which is a different method from the paper's.",
        file=True,
    )
    taps: Literal["last"] | None = option(
        None,
        "Features of VGG-19 that are compared; last: the last of each block, before its pooling "
        "(paper); none: the first of each block (code).",
    )
    comparison: Literal["perceptual", "l1", "l2"] = option(
        "perceptual",
        "Comparison with the image (Table VIII): by features, or by pixels (l1, l2).",
        added=True,
    )
    reconstructed: Literal["maps", "c3"] = option(
        "maps",
        "Input of the decoder (Table VII); c3: early features, whose stage the paper leaves open.",
        added=True,
    )


def suppress(features: Tensor, delta: float = 0.55) -> Tensor:
    """Return features cut at a share of their channel's spatial maximum: `[B,C,H,W]` (Eq. 3).

    The gradient of a cut position flows to the maximum of its channel.
    """
    return torch.minimum(features, delta * features.amax((2, 3), keepdim=True))


def region_mean(maps: Tensor, superpixels: Tensor) -> Tensor:
    """Return the mean of class maps over the superpixel of each position (Eq. 7).

    Args:
        maps: `[B,N,H,W]`.
        superpixels: integer `[B,H,W]`.

    Returns:
        `[B,N,H,W]`.
    """
    batch, classes = maps.shape[:2]
    count = int(superpixels.max()) + 1
    region = superpixels.long() + count * torch.arange(batch, device=maps.device)[:, None, None]
    region = region.flatten()
    flat = maps.transpose(0, 1).reshape(classes, -1)
    sums = flat.new_zeros(classes, batch * count).index_add(1, region, flat)
    sizes = torch.bincount(region, minlength=batch * count).clamp(min=1).to(flat)
    means = (sums / sizes)[:, region]
    return means.reshape(classes, batch, *maps.shape[2:]).transpose(0, 1)


def modulation_target(
    activation: Tensor, regional: Tensor, threshold: float = 0.3, kernel: int = 8
) -> Tensor:
    """Return the larger of the regional means and the reliable activations, `[B,N,H,W]` (Eq. 9).

    An activation is reliable if it exceeds the threshold and remains after erosion. The window of
    an even kernel reaches one pixel further to the top and left, and positions outside of the image
    never erode (OpenCV's rule).

    Args:
        activation: normalised class maps, `[B,N,H,W]`.
        regional: normalised means over superpixels, `[B,N,H,W]`.
        threshold: lower bound of a reliable activation.
        kernel: side of the erosion's window.
    """
    low = (activation <= threshold).to(activation.dtype)
    before, after = kernel // 2, kernel - 1 - kernel // 2
    eroded = 1 - F.max_pool2d(F.pad(low, (before, after, before, after)), kernel, 1)
    return torch.maximum(regional, activation * eroded)


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
        growth: ratio of the sides, 16 in the paper; a smaller power of two leaves out the first
            upsampling steps.
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
        outputs = (256, 128, 64, 32)[5 - growth.bit_length() :]
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


class Suppress:
    """Forward hook that cuts a module's output by `suppress`."""

    def __init__(self, delta: float, training_only: bool) -> None:
        self.delta, self.training_only = delta, training_only

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
        if self.training_only and not module.training:
            return None
        return suppress(output, self.delta)


class EarlyStages(nn.Module):
    """Stages c1 and c2 of a backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.backbone.first_stages(images, 2).values())


SUPPRESSION: Mapping[str, object] = {"ssc.delta": 0.55}
RECONSTRUCTION: Mapping[str, object] = {**SUPPRESSION, "ssc.perceptual": 1.0}
EARLY: Mapping[str, object] = {**RECONSTRUCTION, "ssc.reconstructed": "c3"}
"""Settings of the rows of Table VII."""
MODULATION_ALONE: Mapping[str, object] = {"ssc.delta": 1.0, "ssc.perceptual": 0.0}
"""Changes that leave only self-modulation, without suppression and reconstruction."""
MODULATION = SSCConfig(delta=1.0, perceptual=0.0, warm_up=0.6)
"""Options of self-modulation alone, from 0.6 of the training on: best measured on photographs."""


def paper(e: Experiment) -> Experiment:
    """Train in smaller batches for more epochs; all further options follow IRN's paper."""
    e = irn_paper(e)
    return replace(e, training=replace(e.training, batch_size=6, epochs=10))


def release(e: Experiment) -> Experiment:
    """Train and refine as the authors' code does."""
    e = irn_release(e)
    boundaries = replace(e.refine.training, batch_size=16)
    return replace(
        e,
        training=replace(e.training, batch_size=6, epochs=10),
        refine=replace(e.refine, background=0.10, training=boundaries),
    )


class SSC(Method):
    """Spatial structure constraints on class maps."""

    name = "ssc"
    source = "Chen et al., TIP 2024 (arXiv 2401.11122)"
    Config = SSCConfig
    settings: SSCConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(paper, SSCConfig(warm_up=0.0, taps="last")),
        "release": Preset(release),
        "default": Preset(irn_default, replace(MODULATION, picture=4)),
        "scenes": Preset(irn_scenes, replace(MODULATION, warm_up=0.5, picture=2)),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "suppression": {**SUPPRESSION, "ssc.perceptual": 0.0, "ssc.modulation": 0.0},
        "early reconstruction": {**EARLY, "ssc.modulation": 0.0},
        "reconstruction": {**RECONSTRUCTION, "ssc.modulation": 0.0},
        "modulation without reliable selection": {**RECONSTRUCTION, "ssc.threshold": 1.0},
        "modulation (all)": RECONSTRUCTION,
        "modulation alone": MODULATION_ALONE,
    }

    @property
    def superpixels(self) -> str:
        return self.settings.superpixels if self.settings.modulation else ""

    def training_settings(self) -> dict[str, object]:
        revision = {"suppression": 2} if self.settings.delta < 1 else {}  # 2: rectified blocks only
        return {**super().training_settings(), **revision}

    def extend(self, network: Classifier) -> None:
        s = self.settings
        if s.perceptual:
            maps = s.reconstructed == "maps"
            channels = network.head.out_channels if maps else network.backbone.channels[2]
            growth = max(2, network.backbone.strides[3 if maps else 2] // s.picture)
            network.extras["ssc"] = Reconstruction(channels, growth)
        if s.delta < 1:
            rectified = network.backbone.rectified_blocks
            if not rectified("c4"):
                raise InputError(
                    "SSC's suppression needs rectified features, which this backbone does not "
                    "have; set ssc.delta=1"
                )
            for block in rectified("c4"):
                block.register_forward_hook(Suppress(s.delta, training_only=False))
            for block in rectified("c2")[-1:]:
                block.register_forward_hook(Suppress(s.delta, training_only=True))

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        s = self.settings
        stages = network.features(batch.images)
        scores = network.head(stages["c4"])
        terms = {"classification": soft_margin(scores, batch.labels)}
        if s.perceptual:
            maps = scores if s.reconstructed == "maps" else stages["c3"]
            maps = maps if progress >= s.settle else maps.detach()
            terms["reconstruction"] = s.perceptual * self._reconstruction(network, maps, batch)
        if s.modulation:
            started = progress >= s.warm_up
            loss = self._modulation(scores, batch) if started else scores.new_zeros(())
            terms["modulation"] = s.modulation * loss
        return terms

    def _reconstruction(self, network: Classifier, maps: Tensor, batch: Batch) -> Tensor:
        """Return the weighted distance of features of picture and image (Eqs. 4 to 6)."""
        height, width = (side // self.settings.picture for side in batch.images.shape[2:])
        images = F.interpolate(batch.images, (height, width), mode="area")
        picture = network.extras["ssc"](maps)
        picture = F.interpolate(picture, (height, width), mode="bilinear", align_corners=False)
        if self.settings.comparison != "perceptual":
            return (F.l1_loss if self.settings.comparison == "l1" else F.mse_loss)(picture, images)
        with torch.no_grad():
            targets = self._compared_features(network, images)
        features = self._compared_features(network, picture)
        shares = VGG_WEIGHTS if self.settings.vgg else STAGE_WEIGHTS
        distances = [
            w * (a - b).abs().mean() for w, a, b in zip(shares, features, targets, strict=True)
        ]
        return torch.stack(distances).sum()

    def _compared_features(self, network: Classifier, images: Tensor) -> Sequence[Tensor]:
        """Return the features by which images are compared; their weights take no gradient."""
        if self.settings.vgg:
            return self._vgg_features(images)
        early = EarlyStages(network.backbone)
        state = {k: v.detach() for k, v in early.named_parameters()}
        state |= {k: v.clone() for k, v in early.named_buffers()}
        out: list[Tensor] = torch.func.functional_call(early, state, (images,))
        return out

    @cached_property
    def _vgg(self) -> nn.Sequential:
        from torchvision.models import vgg

        layers: nn.Sequential = vgg.make_layers(vgg.cfgs["E"])
        assert self.settings.vgg
        weights.load(nn.ModuleDict({"features": layers}), self.settings.vgg, "vgg19")
        backbone = layers[: VGG_TAPS[self.settings.taps][-1] + 1]
        return backbone.eval().requires_grad_(False)

    def _vgg_features(self, images: Tensor) -> list[Tensor]:
        out, x = [], images
        for number, layer in enumerate(self._vgg.to(images.device)):
            x = layer(x)
            if number in VGG_TAPS[self.settings.taps]:
                out.append(x)
        return out

    def _modulation(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the self-modulation loss over present classes, without padding (Eqs. 7 to 9)."""
        assert batch.plane is not None
        half = (batch.images.shape[2] // 2, batch.images.shape[3] // 2)
        ids = F.interpolate(batch.plane[:, None].float(), half)[:, 0].long()
        raw = F.interpolate(scores, half, mode="bilinear", align_corners=False)
        raw = raw * batch.labels[:, :, None, None]
        inside = (ids != PADDING)[:, None].to(raw.dtype)
        activation = normalize(raw * inside)
        regional = normalize(region_mean(raw * inside, ids))
        present = batch.labels.bool()
        target = modulation_target(
            activation[present][:, None],
            regional[present][:, None],
            self.settings.threshold,
            self.settings.kernel,
        )
        weight = inside.expand_as(activation)[present][:, None]
        squared = (activation[present][:, None] - target.detach()).square() * weight
        return squared.sum() / weight.sum().clamp(min=1)

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return class_activation_maps(network, images)
