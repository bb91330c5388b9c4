"""SSC: class maps that reconstruct the image and follow superpixels (Chen et al., TIP 2024).

A decoder reconstructs the image from the raw class maps, and a fixed network compares the two
(CAM-driven reconstruction). The maps are pulled towards their means over superpixels where these
means are larger (activation self-modulation). No feature may exceed a share of its maximum (DRS).
Shapes: B batch, N foreground classes, C D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...platform.config.experiment import Experiment
from ...platform.config.fields import Options, dataclass, option
from ...platform.config.presets import Preset, irn_default, irn_paper, irn_release, irn_scenes
from ...platform.errors import InputError
from ...platform.method import PADDING, Batch, Method
from ...platform.models.backbones import Backbone, outline
from ...platform.models.classifier import Classifier, class_activation_maps, soft_margin
from ...platform.ops.collectives import share_of_total
from ...platform.ops.maps import normalize
from ...platform.ops.precision import wide_type
from .reconstruction import (
    EarlyStages,
    Reconstruction,
    VGGFeatures,
    perceptual_distance,
    published_stages,
    with_gradient_of,
    without_gradient,
)
from .suppression import Suppress, Suppression


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
    suppression_start: float = option(
        0.0,
        "Share of the training before suppression begins (paper and code: 0).",
        low=0,
        high=1,
        added=True,
    )
    suppressed_inference: bool = option(
        True, "Suppress features at inference too (paper and code).", added=True
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
    compared_backbone: str = option(
        "",
        "Backbone whose first two stages compare images, in place of VGG-19 or the trained "
        "backbone; empty: none.",
        added=True,
    )
    compared_weights: str | None = option(
        None, "Local file of ImageNet weights of ssc.compared_backbone.", file=True, added=True
    )
    taps: Literal["last"] | None = option(
        None,
        "Features of VGG-19 that are compared; last: the last of each block, before its pooling "
        "(paper); none: the first of each block (code).",
    )
    gradient_share: float | None = option(
        None,
        "Length of the reconstruction's gradient at the decoder's input, as a share of that of the "
        "classification, in each step; none: ssc.perceptual decides (paper and code).",
        low=0,
        high=1e6,
        added=True,
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


def region_mean(maps: Tensor, superpixels: Tensor) -> Tensor:
    """Return the mean of class maps over the superpixel of each position (Eq. 7).

    Computes in float32 at least.

    Args:
        maps: `[B,N,H,W]`.
        superpixels: integer `[B,H,W]`.

    Returns:
        `[B,N,H,W]`, in the type of `maps`.
    """
    batch, classes = maps.shape[:2]
    count = int(superpixels.max()) + 1
    region = superpixels.long() + count * torch.arange(batch, device=maps.device)[:, None, None]
    region = region.flatten()
    flat = maps.to(wide_type(maps)).transpose(0, 1).reshape(classes, len(region))
    sums = flat.new_zeros(classes, batch * count).index_add(1, region, flat)
    sizes = torch.bincount(region, minlength=batch * count).clamp(min=1).to(flat)
    means = (sums / sizes)[:, region]
    means = means.reshape(classes, batch, *maps.shape[2:]).transpose(0, 1)
    return means.to(maps.dtype)


def modulation_target(
    activation: Tensor, regional: Tensor, threshold: float = 0.3, kernel: int = 8
) -> Tensor:
    """Return the larger of the regional means and the reliable activations, `[B,N,H,W]` (Eq. 9).

    An activation is reliable if it exceeds the threshold and remains after erosion. The window of
    an even kernel reaches one pixel further to the top and left. Positions outside of the crop do
    not erode (OpenCV's rule); its padding, whose activation is zero, does.

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


SUPPRESSION: Mapping[str, object] = {"ssc.delta": 0.55}
RECONSTRUCTION: Mapping[str, object] = {**SUPPRESSION, "ssc.perceptual": 1.0}
EARLY: Mapping[str, object] = {**RECONSTRUCTION, "ssc.reconstructed": "c3"}
"""Settings of the rows of Table VII."""
MODULATION_ALONE: Mapping[str, object] = {"ssc.delta": 1.0, "ssc.perceptual": 0.0}
"""Changes that leave only self-modulation, without suppression and reconstruction."""
MODULATION = SSCConfig(delta=1.0, perceptual=0.0, warm_up=0.6)
"""Options of self-modulation alone, from 0.6 of the training on: best measured on photographs."""


def recipe(e: Experiment) -> Experiment:
    """Train in smaller batches for more epochs, and refine with the levels of the authors' code."""
    boundaries = replace(e.refine.training, batch_size=16)
    return replace(
        e,
        training=replace(e.training, batch_size=6, epochs=10),
        refine=replace(e.refine, background=0.10, training=boundaries),
    )


def paper(e: Experiment) -> Experiment:
    """Train and refine as the paper says, with the levels of its code, which it does not print."""
    return recipe(irn_paper(e))


def release(e: Experiment) -> Experiment:
    """Train and refine as the authors' code does."""
    return recipe(irn_release(e))


class SSC(Method):
    """Spatial structure constraints on class maps."""

    name = "ssc"
    source = "Chen et al., TIP 2024 (arXiv 2401.11122)"
    inference_options = ("suppressed_inference",)
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

    def backbone_settings(self, backbone: str) -> dict[str, object]:
        s, revisions = self.settings, dict[str, object]()
        if s.perceptual and self._growth(outline(backbone)) > 16:
            revisions["decoder"] = 2  # revision 2: five decoder steps at a stride of 32
        own = s.comparison == "perceptual" and not (s.vgg or s.compared_backbone)
        if own and s.perceptual and s.delta < 1 and outline(backbone).rectified_blocks("c2"):
            revisions["features"] = 2  # revision 2: compared without suppression
        return revisions

    def _growth(self, backbone: Backbone) -> int:
        """Return the ratio of the sides of the reconstruction and of the decoder's input."""
        stage = 3 if self.settings.reconstructed == "maps" else 2
        return max(2, backbone.strides[stage] // self.settings.picture)

    def inference_network_settings(self) -> dict[str, object]:
        s = self.settings
        unsuppressed = s.delta < 1 and not s.suppressed_inference
        return {"suppressed_inference": False} if unsuppressed else {}

    def extend(self, network: Classifier) -> None:
        s = self.settings
        if bool(s.compared_backbone) != bool(s.compared_weights):
            fields = ["ssc.compared_backbone", "ssc.compared_weights"]
            given, lacking = fields if s.compared_backbone else reversed(fields)
            raise InputError(f"{given} is set without {lacking}; set both or neither")
        if s.vgg and s.compared_backbone:
            raise InputError("images are compared by ssc.vgg or ssc.compared_backbone; set one")
        if s.perceptual:
            maps = s.reconstructed == "maps"
            channels = network.head.out_channels if maps else network.backbone.channels[2]
            network.extras["ssc"] = Reconstruction(channels, self._growth(network.backbone))
        if s.delta < 1:
            self._add_suppression(network)

    def _add_suppression(self, network: Classifier) -> None:
        s = self.settings
        rectified = network.backbone.rectified_blocks
        if not rectified("c4"):
            raise InputError(
                "SSC's suppression needs rectified features, which this backbone does not "
                "have; set ssc.delta=1"
            )
        state = network.extras["suppression"] = Suppression()
        for block in rectified("c4"):
            hook = Suppress(s.delta, training_only=not s.suppressed_inference, state=state)
            block.register_forward_hook(hook)
        for block in rectified("c2")[-1:]:
            block.register_forward_hook(Suppress(s.delta, training_only=True, state=state))

    def check_files(self) -> None:
        if self.settings.perceptual and self.settings.comparison == "perceptual":
            self._read_published()

    def begin_step(self, network: Classifier, progress: float) -> None:
        s = self.settings
        if s.delta < 1:
            network.extra("suppression", Suppression).started = progress >= s.suppression_start

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        s = self.settings
        self.begin_step(network, progress)
        stages = network.features(batch.images)
        scores = network.head(stages["c4"])
        terms = {"classification": soft_margin(scores, batch.labels)}
        if s.perceptual:
            maps = scores if s.reconstructed == "maps" else stages["c3"]
            if progress < s.settle:
                maps = maps.detach()
            elif s.gradient_share is not None:
                maps = with_gradient_of(maps, terms["classification"], s.gradient_share)
            terms["reconstruction"] = s.perceptual * self._reconstruction(network, maps, batch)
        if s.modulation:
            started = progress >= s.warm_up
            loss = self._modulation(scores, batch) if started else scores.new_zeros(())
            terms["modulation"] = s.modulation * loss
        return terms

    def _reconstruction(self, network: Classifier, maps: Tensor, batch: Batch) -> Tensor:
        """Return the distance of the decoder's picture from the image (Eqs. 4 to 6)."""
        height, width = (side // self.settings.picture for side in batch.images.shape[2:])
        images = F.interpolate(batch.images, (height, width), mode="area")
        picture = network.extras["ssc"](maps)
        picture = F.interpolate(picture, (height, width), mode="bilinear", align_corners=False)
        if self.settings.comparison != "perceptual":
            return (F.l1_loss if self.settings.comparison == "l1" else F.mse_loss)(picture, images)
        if self._published is not None:
            features = self._published.to(images.device)
            return perceptual_distance(features, features.shares, picture, images)
        early = EarlyStages(network.backbone)
        suppressed = self.settings.delta < 1
        with network.extra("suppression", Suppression).paused() if suppressed else nullcontext():
            return perceptual_distance(without_gradient(early), early.shares, picture, images)

    @cached_property
    def _published(self) -> VGGFeatures | EarlyStages | None:
        """The network of a local file that compares images; None: the trained backbone does."""
        return self._read_published()

    def _read_published(self) -> VGGFeatures | EarlyStages | None:
        s = self.settings
        if s.vgg:
            return VGGFeatures(s.vgg, s.taps)
        if s.compared_backbone and s.compared_weights:
            return published_stages(s.compared_backbone, s.compared_weights)
        return None

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
        return squared.sum() / share_of_total(weight.sum())

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return class_activation_maps(network, images)
