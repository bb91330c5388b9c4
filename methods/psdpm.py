"""PSDPM: secondary discriminative pixels mined with a segmenter (Zhao et al., CVPR 2024).

A segmenter trained on another method's pseudo labels says what is probably foreground; FPEM, a
cascade of three attentions over what looks alike and lies near, widens it; the prototype map
learns to agree with the result. Written from the paper: its released VOC code holds no FPEM.
Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..platform.config.experiment import Experiment
from ..platform.config.fields import Options, option
from ..platform.config.presets import (
    Preset,
    freeze,
    irn_default,
    irn_paper,
    irn_release,
    irn_scenes,
)
from ..platform.errors import InputError
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.hierarchical_features import joined
from ..platform.ops.maps import merge_flip, normalize
from ..platform.ops.pairwise import similarity_means, similarity_sums
from ..platform.ops.prototypes import cosine_maps, masked_average, unit

STAGES = ("c2", "c3", "c4")
WIDTHS = (128, 256, 256)


@dataclass(frozen=True, kw_only=True)
class PSDPMConfig(Options):
    """PSDPM's own options; defaults are the paper's, or where it is silent what the released
    code that is closest to it does."""

    weight: float = option(1.0, "of the consistency (Eq. 6)", low=0, high=1e6)
    source: str = option(
        "both",
        "what FPEM widens: the mean of the segmenter's probabilities and the prototype map "
        "(Eq. 5); the probabilities alone (Table 4, row 3), which without FPEM and with detach "
        "inside train the same; the prototype map (released for COCO)",
        choices=("both", "segmenter", "prototype"),
    )
    depth: int = option(
        3, "steps of FPEM's cascade, from the deepest stage; 0: none", low=0, high=3
    )
    similarity: str = option(
        "cosine",
        "between positions: rectified cosine over its sum (Eq. 2), softmax of products (released "
        "for VOC), rectified cosine over the area (released for COCO)",
        choices=("cosine", "softmax", "area"),
    )
    position: str = option(
        "4d",
        "what FPEM sees of the position: Fig. 4; 2d: x and y only, which keep but an angle "
        "(released for COCO); none",
        choices=("4d", "2d", "none"),
    )
    features: bool = option(True, "FPEM sees the stage's features (Table 5: w/o F)")
    colour: bool = option(True, "FPEM sees the image (Table 5: w/o I)")
    width: int = option(
        0,
        "channels of a correlation map; 0: as many as its stage (released; paper: silent)",
        low=0,
        high=65_536,
    )
    detach: str = option(
        "inside",
        "where Eq. 5 stops the gradient, which the paper leaves open: at the prototype map inside "
        "FPEM; at FPEM's result, which then stays as initialised; nowhere (released)",
        choices=("inside", "result", "nowhere"),
    )
    average: str = option(
        "present",
        "Eq. 5's norm as a mean over the planes of present classes, or of all",
        choices=("present", "all"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth and self.position == "none" and not (self.features or self.colour):
            raise InputError("position, features or colour: FPEM must see something")


def position_encoding(height: int, width: int) -> Tensor:
    """`[4,H,W]`: x, W+1-x, y, H+1-y counted from 1, at unit length (Fig. 4).

    The nearer two positions, the higher their cosine.
    """
    y = torch.arange(1.0, height + 1)[:, None].expand(height, width)
    x = torch.arange(1.0, width + 1)[None].expand(height, width)
    return unit(torch.stack([x, width + 1 - x, y, height + 1 - y]), dim=0)


def propagate(
    maps: Tensor,
    correlation: Tensor,
    similarity: str = "cosine",
    inside: Tensor | None = None,
) -> Tensor:
    """Each position's mean of its own value and that of what is like it (Eq. 2, with M_j).

    Args:
        maps: `[B,N,H,W]`.
        correlation: `[B,D,H,W]`, what positions are compared by.
        similarity: see `PSDPMConfig`.
        inside: `[B,1,H,W]`, zero where there is padding, which is like nothing; none: all counts.

    Returns:
        `[B,N,H,W]`; a position like nothing keeps half its value.
    """
    flat, values = correlation.flatten(2), maps.flatten(2)
    known = torch.ones_like(flat[:, :1]) if inside is None else (inside.flatten(2) > 0).to(flat)
    if similarity == "softmax":
        spread = similarity_means(flat, values, known)
    else:
        alike = similarity_sums(unit(flat, dim=1) * known, torch.cat([values, known], 1))
        total, area = alike[:, -1:], known.sum(2, keepdim=True).clamp(min=1)
        scale = torch.where(total > 0, total, 1.0) if similarity == "cosine" else area
        spread = alike[:, :-1] / scale
    return ((spread + values) / 2).reshape(maps.shape)


BOTH = {"psdpm.source": "both"}
"""What is learnt from in the rows of the ablation but those without the prototype map."""


class FPEM(nn.Module):
    """Foreground pixel estimation: what maps become in a cascade of attentions (section 3.1).

    Args:
        channels: of the stages c2, c3, c4.
        settings: PSDPM's.
    """

    def __init__(self, channels: tuple[int, ...], settings: PSDPMConfig) -> None:
        super().__init__()
        self.settings = settings
        beside = {"4d": 4, "2d": 2, "none": 0}[settings.position] + 3 * settings.colour
        self.embed = nn.ModuleDict()
        for name, c in list(zip(STAGES, channels, strict=True))[::-1][: settings.depth]:
            inputs = beside + c * settings.features
            self.embed[name] = nn.Conv2d(inputs, settings.width or c, 1, bias=False)

    def correlation(self, name: str, stages: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """`[B,D,h,w]` of one stage (Eq. 1), on the grid of c4.

        A 1x1 convolution without bias and bilinear resizing commute, so the smaller grid's is
        computed.
        """
        s, stage = self.settings, stages[name]
        height, width = stage.shape[2:]
        parts = []
        if s.position != "none":
            place = position_encoding(height, width)
            if s.position == "2d":
                place = unit(place[[0, 2]], dim=0)
            parts.append(place.to(stage).expand(len(stage), -1, -1, -1))
        if s.features:
            parts.append(stage)
        if s.colour:
            parts.append(_resized(images, (height, width)).to(stage))
        seen = _resized(torch.cat(parts, 1), stages["c4"].shape[2:])
        out: Tensor = self.embed[name](seen)
        return out

    def forward(
        self, maps: Tensor, stages: Mapping[str, Tensor], images: Tensor, inside: Tensor
    ) -> Tensor:
        """`[B,N,h,w]` maps on the grid of c4 to the estimate there; `inside` as in `propagate`."""
        for name in self.embed:
            correlation = self.correlation(name, stages, images)
            maps = propagate(maps, correlation, self.settings.similarity, inside)
        return maps


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class Projection(nn.Module):
    """L of Eq. 3: 1x1 convolutions on the last three stages, joined on the grid of c4, 640
    channels; unlike SIPE's their gradient reaches the stages that are not frozen (release).

    Args:
        channels: of the stages c2, c3, c4.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip(channels, WIDTHS, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(c, w, 1, bias=False) for c, w in pairs)

    def forward(self, stages: Mapping[str, Tensor]) -> Tensor:
        """The stages as `[B,640,h,w]`."""
        named = zip(self.convs, STAGES, strict=True)
        return joined([conv(stages[name]) for conv, name in named])


class Mining(nn.Module):
    """What PSDPM adds to a network.

    Args:
        channels: of the stages c2, c3, c4.
        settings: PSDPM's.
    """

    def __init__(self, channels: tuple[int, ...], settings: PSDPMConfig) -> None:
        super().__init__()
        self.project, self.estimate = Projection(channels), FPEM(channels, settings)


def paper(e: Experiment) -> Experiment:
    """Train all stages, otherwise as IRN's paper says."""
    return freeze(irn_paper(e), 0)


def release_voc(e: Experiment) -> Experiment:
    """Train all stages with clipped gradients for as many epochs as the code for VOC."""
    e = freeze(irn_release(e), 0)
    return replace(e, training=replace(e.training, epochs=32, clip_norm=1.0))


def release_coco(e: Experiment) -> Experiment:
    """Train all stages with the batches, epochs and clipped gradients of the code for COCO."""
    e = freeze(irn_release(e), 0)
    return replace(e, training=replace(e.training, batch_size=8, epochs=6, clip_norm=1.0))


def default(e: Experiment) -> Experiment:
    """Walk from sharper maps, within the boundaries that the baseline learnt."""
    e = irn_default(e)
    return replace(e, refine=replace(e.refine, walk_power=4.0, boundaries="baseline"))


VOC_CODE = PSDPMConfig(source="segmenter", depth=0, weight=2.0, detach="nowhere", average="all")
"""Options of the released training on VOC."""
COCO_CODE = PSDPMConfig(
    source="prototype",
    weight=3.2,
    average="all",
    similarity="area",
    position="2d",
    detach="nowhere",
)
"""Options of the released training on COCO."""


class PSDPM(Method):
    """Prototype-based secondary discriminative pixels mining.

    The preset `default` leaves FPEM out, which measures best here (docs/measured.md): two of its
    three steps blur what is learnt from. `--set psdpm.depth=3` brings it back.

    The presets `release-voc` and `release-coco` are as near to the two released trainings as the
    options come. Left out, of VOC's: three classifiers, whose class map is what is compared with
    the probabilities (here: the prototype map) and what is read; replayed images; images squashed
    to a square; the background's plane; losses at half scale. Of COCO's: a weighted sum of FPEM's
    steps, each with its affinity applied twice and not halved; the prototype map's part in the
    classification; losses at half scale.
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
    ablation: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "segmenter (1)": {"psdpm.source": "segmenter", "psdpm.depth": 0},
        "and prototype map (2)": {**BOTH, "psdpm.depth": 0},
        "FPEM of the segmenter (3)": {"psdpm.source": "segmenter", "psdpm.depth": 3},
        "FPEM, one step": {**BOTH, "psdpm.depth": 1},
        "FPEM, two steps": {**BOTH, "psdpm.depth": 2},
        "without position": {**BOTH, "psdpm.depth": 3, "psdpm.position": "none"},
        "without features": {**BOTH, "psdpm.depth": 3, "psdpm.features": False},
        "without colour": {**BOTH, "psdpm.depth": 3, "psdpm.colour": False},
        "all": {**BOTH, "psdpm.depth": 3},
    }

    def extend(self, network: Classifier) -> None:
        own = Mining(network.backbone.channels[1:], self.settings)
        own.estimate.requires_grad_(self.settings.detach != "result")
        network.extras[self.name] = own

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        assert batch.probabilities is not None, "the baseline's segmenter comes before training"
        s, own = self.settings, network.extra(self.name, Mining)
        stages = network.features(batch.images)
        scores = network.head(stages["c4"])
        terms = {"classification": soft_margin(scores, batch.labels)}
        present = batch.labels[:, :, None, None]
        inside = _resized(batch.valid[:, None].to(scores.dtype), scores.shape[2:])
        given = _resized(batch.probabilities[:, 1:].to(scores), scores.shape[2:]) * present
        maps = self._prototype_maps(own.project(stages), scores, present * inside) * inside
        mixed = maps.detach() if s.detach == "inside" else maps
        start = {"both": (given + mixed) / 2, "segmenter": given, "prototype": mixed}[s.source]
        estimate = own.estimate(start * present, stages, batch.images, inside) * inside
        if s.detach == "result":
            estimate = estimate.detach()
        counted = (present if s.average == "present" else torch.ones_like(present)) * inside
        distance = ((estimate - maps).abs() * counted).sum() / counted.sum().clamp(min=1)
        terms["consistency"] = s.weight * distance
        return terms

    @staticmethod
    def _prototype_maps(features: Tensor, scores: Tensor, where: Tensor) -> Tensor:
        """Rectified cosines to the soft prototypes of the class maps (Eqs. 3 and 4)."""
        return cosine_maps(features, masked_average(features, normalize(scores) * where))

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        stages = network.features(torch.cat([images, images.flip(-1)]))
        scores = merge_flip(*network.head(stages["c4"]).chunk(2))
        if self.name in network.extras:
            both = network.extra(self.name, Mining).project(stages)
        else:
            both = joined([stages[name] for name in STAGES])
        features = merge_flip(*both.chunk(2))
        return self._prototype_maps(features, scores, torch.ones_like(scores[:, :1]))
