"""PSDPM: secondary discriminative pixels mined with a segmenter (Zhao et al., CVPR 2024).

A segmenter trained on the labels of a baseline gives foreground probabilities. FPEM, a cascade of
three attentions over similar and near positions, extends them to further pixels. The prototype map
learns to agree with the result. Written from the paper: the code for VOC has no FPEM.
Shapes: B batch, N foreground classes, D channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..platform.config.experiment import Experiment
from ..platform.config.fields import Options, dataclass, option
from ..platform.config.presets import (
    Preset,
    freeze,
    irn_default,
    irn_paper,
    irn_release,
    irn_scenes,
)
from ..platform.errors import FieldError
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.hierarchical_features import HierarchicalFeatures, join_grids
from ..platform.ops.collectives import share_of_total
from ..platform.ops.maps import background, merge_flip, normalize
from ..platform.ops.pairwise import similar_values
from ..platform.ops.prototypes import cosine_maps, masked_average, unit

STAGES = ("c2", "c3", "c4")


@dataclass(frozen=True, kw_only=True)
class PSDPMConfig(Options):
    """Options of PSDPM; the defaults are the paper's.

    Where the paper is silent, the default follows the released code that is closest to it.
    """

    weight: float = option(1.0, "Weight of the consistency loss (Eq. 6).", low=0, high=1e6)
    source: Literal["both", "segmenter", "prototype"] = option(
        "both",
        "Input of FPEM; both: the mean of the segmenter's probabilities and the prototype map (Eq. "
        "5); segmenter: the probabilities alone (Table 4, row 3), with the same gradients as both "
        "if depth is 0 and detach is inside; prototype: the prototype map alone (code for COCO).",
    )
    depth: int = option(
        3, "Steps of FPEM's cascade, from the deepest stage on; 0: no FPEM.", low=0, high=3
    )
    similarity: Literal["cosine", "softmax", "area"] = option(
        "cosine",
        "Similarity of positions; cosine: rectified cosine over its sum (Eq. 2); area: rectified "
        "cosine over the area (COCO code); softmax: softmax of products (VOC code, on features).",
    )
    position: Literal["4d", "2d", "none"] = option(
        "4d",
        "Encoding of the position in FPEM; 4d: distances to all four sides (Fig. 4); 2d: x and y, "
        "whose unit vector is just an angle (code for COCO); none: no position.",
    )
    features: bool = option(True, "Feed the features of the stage to FPEM (Table 5, w/o F: False).")
    colour: bool = option(True, "Feed the image to FPEM (Table 5, w/o I: False).")
    width: int = option(
        0,
        "Channels of a correlation map; 0: as many as its stage has (code; paper: silent).",
        low=0,
        high=65_536,
    )
    detach: Literal["inside", "result", "nowhere"] = option(
        "inside",
        "Place where Eq. 5 stops the gradient, open in the paper; inside: before FPEM, at "
        "the prototype map; result: after FPEM, which stays as initialised; nowhere (code).",
    )
    average: Literal["present", "all"] = option(
        "present",
        "Classes over whose maps the norm of Eq. 5 is averaged: present ones, or all.",
    )
    residual: Literal["mean", "sum"] = option(
        "mean", "Result of a step: mean of A M and M (Eq. 2), or their sum (COCO code).", added=True
    )
    applications: int = option(
        1,
        "Times that a step applies the similarities A (code for COCO: 2).",
        low=1,
        high=2,
        added=True,
    )
    join: Literal["last", "weighted"] = option(
        "last",
        "Result of FPEM: that of its last step, or (r1 + 2 r2 + 3 r3) / 5 (code for COCO).",
        added=True,
    )
    grid: Literal["c4", "own"] = option(
        "c4",
        "Grid of a step: that of the class maps (Eq. 1), or the stage's own (code for COCO).",
        added=True,
    )
    scaled: bool = option(
        False,
        "Divide the prototype map by its maximum in the loss, but not in FPEM (code for COCO).",
        added=True,
    )
    background: Literal["maps", "loss"] | None = option(
        None,
        "Use of a background plane, one minus the highest class map, with its own prototype; maps: "
        "at inference, in place of a threshold (COCO code); loss: in the loss too (VOC code).",
        added=True,
    )
    score: float = option(
        0.0,
        "Weight w of the prototype map M in the class score (S + w M) / (1 + w) (COCO code: 0.5).",
        low=0,
        high=1e6,
        added=True,
    )
    half_scale: bool = option(False, "Add the losses at half the size (both codes).", added=True)

    def __post_init__(self) -> None:
        if self.depth and self.position == "none" and not (self.features or self.colour):
            raise FieldError(
                "position is 'none', and features and colour are False, so FPEM has no input; "
                "turn one of them on",
                "position",
            )


def position_encoding(height: int, width: int) -> Tensor:
    """Return the encoding of each position, whose cosine is higher the nearer two positions are.

    Returns:
        `[4,H,W]`: x, W+1-x, y, H+1-y, counted from 1, as unit vectors (Fig. 4).
    """
    y = torch.arange(1.0, height + 1)[:, None].expand(height, width)
    x = torch.arange(1.0, width + 1)[None].expand(height, width)
    return unit(torch.stack([x, width + 1 - x, y, height + 1 - y]), dim=0)


def propagate(
    maps: Tensor, correlation: Tensor, similarity: str = "cosine", inside: Tensor | None = None
) -> Tensor:
    """Return, for each position, the mean of its value and the mean value of similar positions.

    This is Eq. 2 with M_j; with M_i, as the paper prints it, it would return the maps unchanged.
    Arguments are those of `similar_values`.
    """
    return (similar_values(maps, correlation, similarity, inside) + maps) / 2


BOTH_SOURCES = {"psdpm.source": "both"}
"""Rows of the ablation in which FPEM also reads the prototype map."""
JOIN_WEIGHTS = (3 / 5, 2 / 5, 1 / 5)
"""Weights of the steps in the code for COCO, deepest stage first."""


class FPEM(nn.Module):
    """Foreground pixel estimation, a cascade of attentions over maps (section 3.1).

    Args:
        channels: numbers of channels of the stages c2, c3, c4.
        settings: options of PSDPM.
    """

    def __init__(self, channels: tuple[int, ...], settings: PSDPMConfig) -> None:
        super().__init__()
        self.settings, self.aligned = settings, settings.grid == "own"  # corners, as in the code
        other_inputs = {"4d": 4, "2d": 2, "none": 0}[settings.position] + 3 * settings.colour
        self.embed = nn.ModuleDict()
        for name, c in list(zip(STAGES, channels, strict=True))[::-1][: settings.depth]:
            inputs = other_inputs + c * settings.features
            self.embed[name] = nn.Conv2d(inputs, settings.width or c, 1, bias=False)

    def correlation(self, name: str, stages: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the correlation map of one stage on the grid of its step, `[B,D,h,w]` (Eq. 1).

        A 1x1 convolution without bias and bilinear resizing commute, so the convolution is computed
        on the smaller grid.
        """
        s, stage = self.settings, stages[name]
        height, width = stage.shape[2:]
        inputs = []
        if s.position != "none":
            position = position_encoding(height, width)
            if s.position == "2d":
                position = unit(position[[0, 2]], dim=0)
            inputs.append(position.to(stage).expand(len(stage), -1, -1, -1))
        if s.features:
            inputs.append(stage)
        if s.colour:
            inputs.append(_resized(images, (height, width), self.aligned).to(stage))
        grid = stages["c4"].shape[2:] if s.grid == "c4" else (height, width)
        out: Tensor = self.embed[name](_resized(torch.cat(inputs, 1), grid))
        return out

    def forward(
        self, maps: Tensor, stages: Mapping[str, Tensor], images: Tensor, inside: Tensor
    ) -> Tensor:
        """Return the estimate `[B,N,h,w]` of maps on the grid of c4."""
        size, results = maps.shape[2:], []
        for name in self.embed:
            correlation = self.correlation(name, stages, images)
            grid = correlation.shape[2:]
            known = _resized(inside, grid, self.aligned)
            stepped = self.step(_resized(maps, grid, self.aligned), correlation, known)
            maps = _resized(stepped, size, self.aligned)
            results.append(maps)
        if results and self.settings.join == "weighted":
            pairs = zip(JOIN_WEIGHTS, results, strict=False)
            return torch.stack([weight * result for weight, result in pairs]).sum(0)
        return maps

    def step(self, maps: Tensor, correlation: Tensor, inside: Tensor) -> Tensor:
        """Return the result of one step, `[B,N,H,W]`; see `similar_values`."""
        s, values = self.settings, maps
        for _ in range(s.applications):
            values = similar_values(values, correlation, s.similarity, inside)
        return (values + maps) / 2 if s.residual == "mean" else values + maps


def _resized(x: Tensor, size: tuple[int, ...], aligned: bool = False) -> Tensor:
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=aligned)


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


def release_voc(e: Experiment) -> Experiment:
    """Train all stages with clipped gradients for as many epochs as the code for VOC."""
    e = freeze(irn_release(e), 0)
    return replace(e, training=replace(e.training, epochs=32, clip_norm=1.0))


def release_coco(e: Experiment) -> Experiment:
    """Train all stages with the batches, epochs and clipped gradients of the code for COCO."""
    e = freeze(irn_release(e), 0)
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
    (docs/measured/psdpm.md): two of its three steps, as printed, blur the map from which the
    network learns. `--set psdpm.depth=3` turns FPEM on.

    `release-coco` is the training released for COCO without its colour jitter and blur, and with
    padding left out of FPEM. `release-voc` is close to that for VOC; it lacks the replayed images,
    the attention over features and the three classifiers, whose class map is compared with the
    probabilities and used for inference. Its losses at half scale count whole (code: a fifth).
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
        inside = _resized(batch.valid[:, None].to(scores.dtype), scores.shape[2:])
        given = _resized(batch.probabilities[:, first:].to(scores), scores.shape[2:]) * present
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
