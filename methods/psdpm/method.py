"""PSDPM: secondary discriminative pixels mined with a segmenter (Zhao et al., CVPR 2024).

A segmenter trained on the labels of a baseline gives foreground probabilities. FPEM, a cascade of
three attentions over similar and near positions, extends them to further pixels. The prototype map
learns to agree with the result. Written from the paper: the code for VOC has no FPEM.
Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...platform.config.experiment import Experiment
from ...platform.config.fields import Options
from ...platform.config.presets import (
    Preset,
    freeze,
    irn_default,
    irn_paper,
    irn_release,
    irn_scenes,
)
from ...platform.method import Batch, Method
from ...platform.models.classifier import Classifier, soft_margin
from ...platform.models.hierarchical_features import HierarchicalFeatures, join_grids
from ...platform.ops.collectives import share_of_total
from ...platform.ops.maps import background, merge_flip, normalize
from ...platform.ops.prototypes import cosine_maps, masked_average
from .fpem import FPEM, STAGES, resized
from .options import PSDPMConfig

BOTH_SOURCES = {"psdpm.source": "both"}
"""Rows of the ablation in which FPEM also reads the prototype map."""


class Mining(nn.Module):
    """Modules that PSDPM adds to a network: FPEM, and the projection L of Eq. 3.

    The projection joins the last three stages to 640 channels. Unlike in SIPE, its gradient reaches
    the stages that are not frozen (released code).

    Args:
        channels: numbers of channels of the stages c1 to c4.
        settings: options of PSDPM.
    """

    def __init__(self, channels: tuple[int, int, int, int], settings: PSDPMConfig) -> None:
        super().__init__()
        self.project = HierarchicalFeatures(channels, stages=3, detached=False)
        self.estimate = FPEM(channels[1:], settings)


def paper(e: Experiment) -> Experiment:
    """Train all stages with clipped gradients; all further options follow IRN's paper.

    Without clipping, which only both released trainings have, the loss diverges.
    """
    e = freeze(irn_paper(e), 0)
    return replace(e, training=replace(e.training, clip_norm=1.0))


def release(e: Experiment) -> Experiment:
    """Train all stages, and the boundary network on images of at most their own size.

    The released code gives IRN three factors, of which IRN reads the first two as a range.
    """
    e = freeze(irn_release(e), 0)
    boundaries = replace(e.refine.training, rescale=(0.5, 1.0))
    return replace(e, refine=replace(e.refine, training=boundaries))


def release_voc(e: Experiment) -> Experiment:
    """Train with clipped gradients for as many epochs as the code for VOC."""
    e = release(e)
    return replace(e, training=replace(e.training, epochs=32, clip_norm=1.0))


def release_coco(e: Experiment) -> Experiment:
    """Train with the batches, epochs and clipped gradients of the code for COCO."""
    e = release(e)
    return replace(e, training=replace(e.training, batch_size=8, epochs=6, clip_norm=1.0))


def default(e: Experiment) -> Experiment:
    """Follow `irn_default`, with sharper maps for the walk and the baseline's boundary network."""
    e = irn_default(e)
    return replace(e, refine=replace(e.refine, walk_power=4.0, boundaries="baseline"))


VOC_CODE = replace(
    PSDPMConfig(source="segmenter", depth=0, weight=2.0, detach="nowhere", average="all"),
    background="loss",
    half_scale=True,
)
"""Options of the code released for VOC."""
COCO_CODE = PSDPMConfig(
    source="prototype",
    weight=6.4,
    average="all",
    similarity="area",
    position="2d",
    detach="nowhere",
    residual="sum",
    applications=2,
    join="weighted",
    grid="own",
    scaled=True,
    background="maps",
    score=0.5,
    half_scale=True,
)
"""Options of the code released for COCO."""


class PSDPM(Method):
    """Prototype-based secondary discriminative pixels mining.

    The preset `default` leaves FPEM out, which measured best in this project
    (docs/measured/psdpm.md): as printed, its second and third step blur the map from which the
    network learns. `--set psdpm.depth=3` turns FPEM on.

    `release-coco` is the training released for COCO without its colour jitter and blur, and with
    padding left out of FPEM. `release-voc` is close to that for VOC; it lacks the replayed images,
    the attention over features, the rule of labels and the three classifiers, whose class map is
    compared with the probabilities and used for inference. Its losses at half scale count whole
    (code: a fifth).
    """

    name = "psdpm"
    source = "Zhao et al., CVPR 2024"
    needs_baseline = True
    Config = PSDPMConfig
    settings: PSDPMConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(paper),
        "release-voc": Preset(release_voc, VOC_CODE),
        "release-coco": Preset(release_coco, COCO_CODE),
        "default": Preset(default, PSDPMConfig(depth=0, width=256)),
        "scenes": Preset(irn_scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "segmenter (1)": {"psdpm.source": "segmenter", "psdpm.depth": 0},
        "segmenter and prototype map (2)": {**BOTH_SOURCES, "psdpm.depth": 0},
        "FPEM of the segmenter (3)": {"psdpm.source": "segmenter", "psdpm.depth": 3},
        "FPEM, one step": {**BOTH_SOURCES, "psdpm.depth": 1},
        "FPEM, two steps": {**BOTH_SOURCES, "psdpm.depth": 2},
        "without position": {**BOTH_SOURCES, "psdpm.depth": 3, "psdpm.position": "none"},
        "without features": {**BOTH_SOURCES, "psdpm.depth": 3, "psdpm.features": False},
        "without colour": {**BOTH_SOURCES, "psdpm.depth": 3, "psdpm.colour": False},
        "all": {**BOTH_SOURCES, "psdpm.depth": 3},
    }

    def __init__(self, settings: Options) -> None:
        super().__init__(settings)
        self.own_background = self.settings.background is not None
        self.changes_classification = self.settings.half_scale or self.settings.score > 0

    def training_settings(self) -> dict[str, object]:
        s = self.settings
        revision = (
            {"join": 2} if s.join == "weighted" and 0 < s.depth < 3 else {}
        )  # 2: of equal sum
        return {**super().training_settings(), **revision}

    def extend(self, network: Classifier) -> None:
        mining = Mining(network.backbone.channels, self.settings)
        mining.estimate.requires_grad_(self.settings.detach != "result")
        network.extras[self.name] = mining

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        terms = self._losses(network, batch)
        if self.settings.half_scale:
            images = F.interpolate(
                batch.images, scale_factor=0.5, mode="bilinear", align_corners=True
            )
            half = replace(batch, images=images, valid=batch.valid[:, ::2, ::2])
            for name, term in self._losses(network, half).items():
                terms[name] = terms[name] + term
        return terms

    def _losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        """Return the losses at one scale."""
        assert batch.probabilities is not None, "the batch lacks the segmenter's probabilities"
        s, mining, first = self.settings, network.extra(self.name, Mining), 1
        stages, present = network.features(batch.images), batch.labels[:, :, None, None]
        if s.background == "loss":
            present, first = torch.cat([torch.ones_like(present[:, :1]), present], 1), 0
        scores = network.head(stages["c4"])
        inside = resized(batch.valid[:, None].to(scores.dtype), scores.shape[2:])
        given = resized(batch.probabilities[:, first:].to(scores), scores.shape[2:]) * present
        maps = self._prototype_maps(mining.project(stages), scores, present * inside, not first)
        scored = (scores + s.score * maps[:, 1 - first :]) / (1 + s.score) if s.score else scores
        terms = {"classification": soft_margin(scored, batch.labels)}
        maps = maps * inside
        mixed = maps.detach() if s.detach == "inside" else maps
        start = {"both": (given + mixed) / 2, "segmenter": given, "prototype": mixed}[s.source]
        estimate = mining.estimate(start * present, stages, batch.images, inside) * inside
        if s.detach == "result":
            estimate = estimate.detach()
        counted = (present if s.average == "present" else torch.ones_like(present)) * inside
        compared = normalize(maps) if s.scaled else maps
        distance = ((estimate - compared).abs() * counted).sum() / share_of_total(counted.sum())
        return {**terms, "consistency": s.weight * distance}

    @staticmethod
    def _prototype_maps(
        features: Tensor, scores: Tensor, where: Tensor, with_background: bool = False
    ) -> Tensor:
        """Return the rectified cosines to the soft prototypes of the class maps (Eqs. 3 and 4)."""
        maps = normalize(scores)
        if with_background:
            maps = torch.cat([background(maps), maps], 1)
        return cosine_maps(features, masked_average(features, maps * where))

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        stages = network.features(torch.cat([images, images.flip(-1)]))
        scores = merge_flip(*network.head(stages["c4"]).chunk(2))
        if self.name in network.extras:
            projected = network.extra(self.name, Mining).project(stages)
        else:
            projected = join_grids([stages[name] for name in STAGES])
        features, everywhere = merge_flip(*projected.chunk(2)), torch.ones_like(scores[:, :1])
        return self._prototype_maps(features, scores, everywhere, self.own_background)
