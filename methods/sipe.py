"""SIPE: class maps from prototypes of the image itself (Chen et al., CVPR 2022).

Each position takes the class whose map overlaps best with what looks like it; the positions
that a class took (its seeds) give one prototype, background among the classes, and the
similarity to these prototypes is the map (IS-CAM). Training pulls it and the class map together.
Shapes: B batch, N foreground classes, D channels, H W grid; the background plane comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
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
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.hierarchical_features import add_hierarchical_features, hierarchy
from ..platform.ops.maps import background, merge_flip, normalize
from ..platform.ops.pairwise import similarity_sums
from ..platform.ops.prototypes import cosine_maps, masked_average, unit


@dataclass(frozen=True, kw_only=True)
class SIPEConfig(Options):
    """SIPE's own options; defaults are what the authors' code does."""

    weight: float = option(1.0, "of the general-specific consistency (Eq. 9)", low=0, high=1e6)
    background_weight: float = option(
        0.5, "alpha: scales the background in training", low=0, high=1e6
    )
    inference_weight: float = option(
        0.5,
        "alpha at inference (paper and code: one alpha); the network decides what fits",
        low=0,
        high=1e6,
    )
    alpha_on: str = option(
        "iou",
        "what alpha scales: the background's overlap (code) or its map (paper, Eq. 2)",
        choices=("iou", "map"),
    )
    features: str | None = option(
        None,
        "of the prototypes (Table 5), none: all stages joined; c4: the last, semantic one",
        choices=(None, "c4"),
    )
    plain_background: bool | None = option(
        None,
        "the background is what no IS-CAM claims, and not a prototype's (Table 5, w/o BPM)",
    )
    normalized: bool = option(True, "the loss takes IS-CAM over its maximum (paper, Eq. 10: raw)")
    seed_features: str = option(
        "hierarchical",
        "features of the seeds at inference (training: c4)",
        choices=("hierarchical", "c4"),
    )


@torch.no_grad()
def structure_seeds(features: Tensor, maps: Tensor, background_weight: float = 0.5) -> Tensor:
    """The class of each position, by the overlap of its structure with each class map.

    A position's structure is its rectified cosine to all positions; the overlap is their soft
    intersection over union (Eqs. 3 to 5). Without gradient.

    Args:
        features: `[B,D,H,W]`.
        maps: `[B,N+1,H,W]`, not negative.
        background_weight: scales the overlap of the background.

    Returns:
        One-hot `[B,N+1,H,W]`; where nothing overlaps, background.
    """
    flat = unit(features, dim=1).flatten(2)
    weights = maps.flatten(2)
    sums = similarity_sums(flat, torch.cat([weights, torch.ones_like(weights[:, :1])], 1))
    both, size = sums[:, :-1], sums[:, -1:]
    either = size + weights.sum(2, keepdim=True) - both
    overlap = both / torch.where(either > 0, either, 1.0)
    overlap[:, 0] *= background_weight
    seeds = F.one_hot(overlap.argmax(1), maps.shape[1]).mT.to(maps.dtype)
    return seeds.reshape(maps.shape)


def paper(e: Experiment) -> Experiment:
    """Train all stages, otherwise as IRN's paper says."""
    return freeze(irn_paper(e), 0)


def release(e: Experiment) -> Experiment:
    """Train with clipped gradients and let the background walk, as the authors' code does."""
    e = irn_release(e)
    refine = replace(e.refine, walk_power=1.5, walk_background=True)
    return replace(e, training=replace(e.training, clip_norm=1.0), refine=refine)


def scenes(e: Experiment) -> Experiment:
    """Train with clipped gradients, otherwise as the other methods do on `scenes`."""
    e = irn_scenes(e)
    return replace(e, training=replace(e.training, clip_norm=5.0))


class SIPE(Method):
    """Self-supervised image-specific prototypes."""

    name = "sipe"
    source = "Chen et al., CVPR 2022"
    own_background = True
    at_inference = ("inference_weight", "seed_features")
    Config = SIPEConfig
    settings: SIPEConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(paper, SIPEConfig(alpha_on="map", normalized=False)),
        "release": Preset(release),
        "default": Preset(irn_default, SIPEConfig(inference_weight=1.0)),
        "scenes": Preset(scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prototypes, no consistency": {"sipe.weight": 0.0},
        "prototypes and consistency": {},
    }

    def extend(self, network: Classifier) -> None:
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
        """Class maps under the background: `[B,N,H,W]` scores to `[B,N+1,H,W]`.

        The background is what no class claims, absent classes among them (the authors' code).
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
        of_seeds = merge_flip(*hierarchy(network, stages).chunk(2))
        if self.settings.seed_features == "c4":
            of_seeds = merge_flip(*stages["c4"].chunk(2))
        alpha = self.settings.inference_weight
        seeds = self._seeds(of_seeds, self._maps(scores, alpha), alpha)
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], 1).to(seeds)
        seeds = seeds * present[:, :, None, None]
        return self._specific(features, seeds)

    def _features(self, network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
        """What prototypes are means of."""
        return stages["c4"] if self.settings.features == "c4" else hierarchy(network, stages)

    def _specific(self, features: Tensor, seeds: Tensor) -> Tensor:
        """IS-CAM `[B,N+1,H,W]` from seeds of as many planes (Eq. 7)."""
        maps = cosine_maps(features, masked_average(features, seeds))
        if self.settings.plain_background:
            maps = torch.cat([background(maps[:, 1:]), maps[:, 1:]], 1)
        return maps
