"""SIPE: class maps from prototypes of the image itself (Chen et al., CVPR 2022).

Each position is assigned to the class, or the background, whose map overlaps best with the
positions of similar features. The positions of a class (its seeds) give one prototype, and the
similarity to the prototypes is the map (IS-CAM). Training pulls IS-CAM and the class map together.
Shapes: B batch, N foreground classes, D channels, H W grid; the background plane comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
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
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.hierarchical_features import add_hierarchical_features, hierarchical_features
from ..platform.ops.maps import background, merge_flip, normalize
from ..platform.ops.pairwise import similarity_sums
from ..platform.ops.precision import wide_type
from ..platform.ops.prototypes import cosine_maps, masked_average, unit


@dataclass(frozen=True, kw_only=True)
class SIPEConfig(Options):
    """Options of SIPE; the defaults follow the authors' code."""

    weight: float = option(
        1.0, "Weight of the general-specific consistency loss (Eq. 9).", low=0, high=1e6
    )
    background_weight: float = option(
        0.5, "Alpha, which scales the background, in training.", low=0, high=1e6
    )
    inference_weight: float = option(
        0.5,
        "Alpha at inference (paper and code: one alpha for both); the best value depends on the "
        "network.",
        low=0,
        high=1e6,
    )
    alpha_on: Literal["iou", "map"] = option(
        "iou",
        "Quantity that alpha scales: iou, the background's overlap (code), or map, its map (paper, "
        "Eq. 2).",
    )
    features: Literal["c4"] | None = option(
        None,
        "Features of the prototypes (Table 5); none: all stages joined; c4: the last stage.",
    )
    plain_background: bool | None = option(
        None,
        "Compute the background as one minus the highest IS-CAM, without a prototype of its own "
        "(Table 5, w/o BPM).",
    )
    normalized: bool = option(
        True, "Divide IS-CAM by its maximum in the loss (paper, Eq. 10: not divided)."
    )
    seed_features: Literal["hierarchical", "c4"] = option(
        "hierarchical",
        "Features of the seeds at inference: hierarchical, which without trained projections "
        "(sipe.features=c4) are the stages themselves, or c4 (training: c4).",
    )
    searched: bool = option(
        False,
        "Leave the background plane out of the class maps, so that they are cut at the best "
        "threshold (Table 5, background threshold).",
        added=True,
    )


@torch.no_grad()
def structure_seeds(features: Tensor, maps: Tensor, background_weight: float = 0.5) -> Tensor:
    """Return the class of each position, by the overlap of its structure with each class map.

    The structure of a position is its rectified cosine to all positions; the overlap with a class
    map is their soft intersection over union (Eqs. 3 to 5), in float32 at least. No gradient flows.

    Args:
        features: `[B,D,H,W]`.
        maps: class maps, `[B,N+1,H,W]`, not negative.
        background_weight: factor on the overlap of the background.

    Returns:
        One-hot `[B,N+1,H,W]`, in the type of `maps`; background where no map overlaps.
    """
    wide = wide_type(features, maps)
    flat = unit(features.to(wide), dim=1).flatten(2)
    weights = maps.to(wide).flatten(2)
    sums = similarity_sums(flat, torch.cat([weights, torch.ones_like(weights[:, :1])], 1))
    intersection, size = sums[:, :-1], sums[:, -1:]
    union = size + weights.sum(2, keepdim=True) - intersection
    overlap = intersection / torch.where(union > 0, union, 1.0)
    overlap[:, 0] *= background_weight
    seeds = F.one_hot(overlap.argmax(1), maps.shape[1]).mT.to(maps.dtype)
    return seeds.reshape(maps.shape)


def paper(e: Experiment) -> Experiment:
    """Train all stages with clipped gradients; all further options follow IRN's paper.

    The paper does not name the clipping, with which its code trains.
    """
    e = freeze(irn_paper(e), 0)
    return replace(e, training=replace(e.training, clip_norm=1.0))


def release(e: Experiment) -> Experiment:
    """Clip gradients and include the background in the random walk, as in the authors' code."""
    e = irn_release(e)
    refine = replace(e.refine, walk_power=1.5, walk_background=True)
    return replace(e, training=replace(e.training, clip_norm=1.0), refine=refine)


def scenes(e: Experiment) -> Experiment:
    """Clip gradients; all further options are those of all methods on `scenes`."""
    e = irn_scenes(e)
    return replace(e, training=replace(e.training, clip_norm=5.0))


class SIPE(Method):
    """Self-supervised image-specific prototype exploration."""

    name = "sipe"
    source = "Chen et al., CVPR 2022"
    own_background = True
    inference_options = ("inference_weight", "seed_features", "searched")
    Config = SIPEConfig
    settings: SIPEConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(paper, SIPEConfig(alpha_on="map", normalized=False)),
        "release": Preset(release),
        "default": Preset(irn_default, SIPEConfig(inference_weight=1.0)),
        "scenes": Preset(scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "prototypes, no consistency": {"sipe.weight": 0.0},
        "prototypes and consistency": {},
    }

    def __init__(self, settings: Options) -> None:
        super().__init__(settings)
        self.own_background = not self.settings.searched

    def training_settings(self) -> dict[str, object]:
        # With c4 no projection is added, because none would get a gradient.
        projected = {"projections": False} if self.settings.features == "c4" else {}
        return {**super().training_settings(), **projected}

    def extend(self, network: Classifier) -> None:
        if self.settings.features != "c4":
            add_hierarchical_features(network)

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        stages = network.features(batch.images)
        scores = network.head(stages["c4"])
        terms = {"classification": soft_margin(scores, batch.labels)}
        valid = F.interpolate(batch.valid[:, None].to(scores.dtype), scores.shape[-2:])
        present = torch.cat([torch.ones_like(batch.labels[:, :1]), batch.labels], 1)
        alpha = self.settings.background_weight
        maps = self._maps(scores, alpha) * present[:, :, None, None] * valid
        seeds = self._seeds(stages["c4"], maps, alpha) * valid
        specific = self._specific(self._features(network, stages), seeds)
        if self.settings.normalized:
            specific = normalize(specific)
        terms["consistency"] = self.settings.weight * (maps - specific).abs().mean()
        return terms

    def _maps(self, scores: Tensor, alpha: float) -> Tensor:
        """Return the background plane and the class maps: `[B,N,H,W]` scores to `[B,N+1,H,W]`.

        The background is one minus the maximum over all classes, absent ones included (the
        authors' code).
        """
        maps = normalize(scores)
        scale = alpha if self.settings.alpha_on == "map" else 1.0
        return torch.cat([background(maps, scale), maps], 1)

    def _seeds(self, features: Tensor, maps: Tensor, alpha: float) -> Tensor:
        return structure_seeds(features, maps, alpha if self.settings.alpha_on == "iou" else 1.0)

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        stages = network.features(torch.cat([images, images.flip(-1)]))
        scores = merge_flip(*network.head(stages["c4"]).chunk(2))
        features = merge_flip(*self._features(network, stages).chunk(2))
        from_c4 = self.settings.seed_features == "c4"
        seed_features = stages["c4"] if from_c4 else hierarchical_features(network, stages)
        seed_features = merge_flip(*seed_features.chunk(2))
        alpha = self.settings.inference_weight
        seeds = self._seeds(seed_features, self._maps(scores, alpha), alpha)
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], 1).to(seeds)
        seeds = seeds * present[:, :, None, None]
        maps = self._specific(features, seeds)
        return maps if self.own_background else maps[:, 1:]

    def _features(self, network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
        """Return the features from which prototypes are averaged."""
        return (
            stages["c4"]
            if self.settings.features == "c4"
            else hierarchical_features(network, stages)
        )

    def _specific(self, features: Tensor, seeds: Tensor) -> Tensor:
        """Return the IS-CAM `[B,N+1,H,W]` for seeds of the same shape (Eq. 7)."""
        maps = cosine_maps(features, masked_average(features, seeds))
        if self.settings.plain_background:
            maps = torch.cat([background(maps[:, 1:]), maps[:, 1:]], 1)
        return maps
