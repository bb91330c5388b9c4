"""CPAL: context prototype-aware learning (Tang et al., CVPR 2024), from the paper alone.

The features of a class in one image (its anchor) are compared with the context prototypes of the
class, which are clusters of a support bank of earlier anchors. The most related prototypes,
weighted by positiveness, give the map (PACAM). Training pulls PACAM and the class map together.
Where the paper leaves a choice open, `CPALConfig` has an option with all choices.
Shapes: B batch, N foreground classes, D channels, H W grid, P context prototypes, Q anchors;
the background plane comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...platform.config.fields import Options, dataclass, option
from ...platform.config.presets import Preset, irn_default, irn_paper, irn_scenes
from ...platform.method import Batch, Method
from ...platform.models.classifier import Classifier, soft_margin
from ...platform.models.hierarchical_features import (
    HierarchicalFeatures,
    add_hierarchical_features,
    hierarchical_features,
)
from ...platform.ops.collectives import gather_rows
from ...platform.ops.maps import background, merge_flip, normalize
from ...platform.ops.precision import unlowered, wide_type
from ...platform.ops.prototypes import cosine_maps, masked_average, unit
from .bank import Bank


@dataclass(frozen=True, kw_only=True)
class CPALConfig(Options):
    """Options of CPAL; numbers are the paper's (section 4.1).

    Where the paper leaves a choice open, the default is the choice that measured best.
    """

    weight: float = option(1.0, "Weight of the self-supervised loss (lambda).", low=0, high=1e6)
    tau: float = option(
        0.1, "Class map value above which a position belongs to the anchor.", low=0, high=1
    )
    share: float | None = option(
        None,
        "Share of an image's positions that belong to the anchor of a class, those of the highest "
        "class map values; none: cpal.tau decides (paper).",
        low=0,
        high=1,
        added=True,
    )
    slots: int = option(
        1000, "Latest anchors that the bank keeps for each class.", low=1, high=1_000_000
    )
    prototypes: int = option(
        50,
        "Clusters of each class (N_p), fewer while the bank holds fewer anchors.",
        low=1,
        high=100_000,
    )
    top_k: int = option(
        20, "Number of context prototypes that make the map (K).", low=1, high=100_000
    )
    temperature: float = option(
        0.0,
        "Temperature of the positiveness; 0: square root of D (paper: none, which is 1).",
        low=0,
        high=1e6,
    )
    weighting: Literal["weighted", "printed"] = option(
        "weighted",
        "Role of the positiveness; weighted: it ranks and weights the cosines; printed: it cancels "
        "(Eqs. 6 and 13 as printed).",
    )
    measure: Literal["cosine", "l1", "l2"] | None = option(
        None,
        "Measure of the positiveness (Table 3): cosine, or the negative distance l1 or l2; none: "
        "the dot product.",
    )
    shift: Literal["anchors", "both", "none"] = option(
        "anchors",
        "Vectors that the alignment (Eq. 12) shifts: anchors; both, anchors and features; or none.",
    )
    features: Literal["hierarchical", "c4"] = option(
        "hierarchical",
        "Features v(f), which the paper leaves open: hierarchical, SIPE's joined stages; c4, the "
        "last stage.",
    )
    background: float = option(
        0.5,
        "Background value above which a position belongs to the background's anchor.",
        low=0,
        high=1,
    )
    normalized: bool = option(
        True, "Divide PACAM by its maximum in the loss (the paper leaves it open)."
    )
    detached: bool = option(
        True, "Stop the gradient at positiveness and ranking (the paper leaves it open)."
    )
    aligned_inference: bool = option(
        False,
        "Align anchors at inference too, which for one image replaces them by the bank's mean.",
    )


def highest(maps: Tensor, share: float, valid: Tensor) -> Tensor:
    """Return which positions have the highest values of their map, bool `[B,N,H,W]`.

    Positions of value zero never count. Positions of equal value count together.

    Args:
        maps: not negative, `[B,N,H,W]`.
        share: share of the valid positions, rounded up.
        valid: 0 where padded, `[B,1,H,W]`.
    """
    values = (maps * valid).flatten(2).sort(2, descending=True).values
    count = (share * valid.flatten(1).sum(1)).ceil().long().clamp(min=1)
    place = (count - 1).clamp(max=values.shape[2] - 1)[:, None, None]
    least = values.gather(2, place.expand(-1, values.shape[1], 1))[..., None]
    return (maps * valid >= least) & (maps * valid > 0)


def shift(context: Tensor, anchors: Tensor) -> Tensor:
    """Return the shift from the anchors of a class to its context (Eq. 12).

    Without context there is nothing to move towards, and without anchors nothing to move: the shift
    is then zero, with which the anchors keep their features. Computes in float32 at least.

    Args:
        context: context prototypes of the class, `[P,D]`.
        anchors: anchors of the class, `[Q,D]`.

    Returns:
        `[D]`, in the common type of both.
    """
    kind, wide = torch.promote_types(context.dtype, anchors.dtype), wide_type(context, anchors)
    if not len(context) or not len(anchors):
        return context.new_zeros(context.shape[1], dtype=kind)
    return (context.to(wide).mean(0) - anchors.to(wide).mean(0)).to(kind)


def positiveness(
    anchor: Tensor, context: Tensor, temperature: float | None = None, measure: str | None = None
) -> Tensor:
    """Return the positiveness of each context prototype, its relation to the anchor (Eq. 7).

    Computes in float32 at least.

    Args:
        anchor: anchor of one class in one image, `[D]`.
        context: context prototypes of the class, `[P,D]`.
        temperature: temperature of the softmax over the prototypes; None: square root of D.
        measure: measure of the relation, see `CPALConfig`.

    Returns:
        `[P]`, of sum 1, in the common type of both.
    """
    kind, wide = torch.promote_types(anchor.dtype, context.dtype), wide_type(anchor, context)
    anchor, context = anchor.to(wide), context.to(wide)
    with unlowered(anchor):
        if measure == "cosine":
            near = unit(context) @ unit(anchor)
        elif measure in ("l1", "l2"):
            near = -(context - anchor).norm(p=int(measure[1]), dim=1)
        else:
            near = context @ anchor
    return F.softmax(near / (temperature or anchor.shape[-1] ** 0.5), dim=0).to(kind)


def soft_neighbours(
    anchor: Tensor,
    context: Tensor,
    top_k: int,
    temperature: float | None = None,
    weighting: str = "weighted",
    measure: str | None = None,
) -> Tensor:
    """Return the weighted mean of the `top_k` most related unit prototypes (Eqs. 6 and 13).

    The dot product of this mean, `[D]`, with a unit feature is the weighted mean cosine. It is of
    the common type of anchor and context, float32 at least. With the weighting `printed`, ranking
    and mean ignore the positiveness, as it cancels in the equations.
    """
    wide = wide_type(anchor, context)
    anchor, context = anchor.to(wide), context.to(wide)
    weights = positiveness(anchor, context, temperature, measure)
    if weighting == "printed":
        weights = torch.ones_like(weights)
    with unlowered(anchor):
        cosine = unit(context) @ unit(anchor)
        chosen = (weights * cosine).topk(min(top_k, len(context))).indices
        share = weights[chosen] / weights[chosen].sum().clamp(min=torch.finfo(wide).tiny)
        return share @ unit(context[chosen])


def prototype_aware_map(
    features: Tensor,
    anchor: Tensor,
    context: Tensor,
    top_k: int = 20,
    temperature: float | None = None,
) -> Tensor:
    """Return the PACAM of one class, a rectified mean of cosines weighted by positiveness.

    Computes in float32 at least.

    Args:
        features: `[D,H,W]`.
        anchor: shifted anchor of the class, `[D]`.
        context: context prototypes of the class, `[P,D]`.
        top_k: number of prototypes, the first by positiveness times cosine to the anchor.
        temperature: see `positiveness`.

    Returns:
        `[H,W]`, in the type of `features`.
    """
    wide = wide_type(features, anchor, context)
    direction = soft_neighbours(anchor.to(wide), context.to(wide), top_k, temperature)
    with unlowered(features):
        cosine = torch.einsum("dhw,d->hw", unit(features.to(wide), dim=0), direction)
    return F.relu(cosine).to(features.dtype)


WITHOUT_LOSS: Mapping[str, object] = {"cpal.weight": 0.0}
AWARE: Mapping[str, object] = {"cpal.weighting": "weighted", "cpal.top_k": 20}
ALIGNED: Mapping[str, object] = {"cpal.shift": "anchors", "cpal.aligned_inference": True}
"""Settings of rows of Table 1; without the loss, only inference can align."""


ONLY_IN_THE_LOSS = frozenset(
    ("weighting", "top_k", "temperature", "measure", "shift", "normalized", "detached")
)
"""Options that change nothing in a training without the loss."""


class CPAL(Method):
    """Context prototype-aware learning of class maps."""

    name = "cpal"
    source = "Tang et al., CVPR 2024 (paper only; no code was released)"
    own_background = True
    revision = 2  # since 2, features at inference are a mean of image and mirror image
    keeps_prototypes = True
    inference_options = ("aligned_inference",)
    Config = CPALConfig
    settings: CPALConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(irn_paper, CPALConfig(temperature=1.0)),
        "default": Preset(irn_default, CPALConfig(tau=0.6)),
        "scenes": Preset(irn_scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "context (II)": {
            **WITHOUT_LOSS,
            "cpal.weighting": "printed",
            "cpal.top_k": 50,
            "cpal.shift": "none",
        },
        "context-aware (III)": {**WITHOUT_LOSS, **AWARE, "cpal.shift": "none"},
        "context-aware and aligned (IV)": {**WITHOUT_LOSS, **AWARE, **ALIGNED},
        "all (V)": {**AWARE, **ALIGNED},
        "all, aligned only in training": {**AWARE, "cpal.shift": "anchors"},
    }

    def training_settings(self) -> dict[str, object]:
        unread = frozenset() if self.settings.weight else ONLY_IN_THE_LOSS
        values = super().training_settings()
        return {name: value for name, value in values.items() if name not in unread}

    def extend(self, network: Classifier) -> None:
        s = self.settings
        width = network.backbone.channels[3]
        if s.features == "hierarchical":
            add_hierarchical_features(network)
            width = network.extra("hierarchical", HierarchicalFeatures).width
        network.extras["cpal"] = Bank(network.head.out_channels + 1, width, s.slots, s.prototypes)

    def on_epoch_start(self, network: Classifier, epoch: int) -> None:
        network.extra("cpal", Bank).cluster(epoch)

    def after_training(self, network: Classifier) -> None:
        network.extra("cpal", Bank).cluster(0)

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        stages = network.features(batch.images)
        scores = network.head(stages["c4"])
        valid = F.interpolate(batch.valid[:, None].to(scores.dtype), scores.shape[-2:])
        maps = self._maps(scores, batch.labels) * valid
        features = self._features(network, stages)
        anchors, present = self._anchors(features, maps, valid)
        bank = network.extra("cpal", Bank)
        read = present & (bank.found > 0)
        aware = self._aware(bank, features, anchors, read) * valid
        if self.settings.normalized:
            aware = normalize(aware)
        bank.push(anchors.detach(), present)
        distance = (maps * read[:, :, None, None] - aware).abs().mean()
        unused = 0.0 * features.mean()  # gives features a gradient before the first clustering
        return {
            "classification": soft_margin(scores, batch.labels),
            "self": self.settings.weight * distance + unused,
        }

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        stages = network.features(torch.cat([images, images.flip(-1)]))
        scores = merge_flip(*network.head(stages["c4"]).chunk(2))
        features = merge_flip(*self._features(network, stages).chunk(2)) / 2  # mean, as trained
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], 1).to(features)
        maps = self._maps(scores, torch.ones_like(labels))
        anchors, valid = self._anchors(features, maps, torch.ones_like(maps[:, :1]))
        valid &= present.bool()
        if "cpal" not in network.extras or not network.extra("cpal", Bank).found.any():
            return cosine_maps(features, anchors * valid[:, :, None])  # only the image's anchors
        bank = network.extra("cpal", Bank)
        if self.settings.aligned_inference:
            means = [bank.prototypes(n).mean(0) for n in range(anchors.shape[1])]
            anchors = torch.stack(means).nan_to_num().to(anchors).expand_as(anchors)
        return self._aware(bank, features, anchors, valid & (bank.found > 0), aligned=False)

    def features_and_prototypes(
        self, network: Classifier, images: Tensor
    ) -> tuple[Tensor, Mapping[int, Tensor]] | None:
        if "cpal" not in network.extras:
            return None
        bank = network.extra("cpal", Bank)
        prototypes = {n: bank.prototypes(n) for n in bank.found.nonzero().flatten().tolist()}
        return self._features(network, network.features(images)), prototypes

    def _maps(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return background plane and class maps, `[B,N+1,H,W]`, from scores `[B,N,H,W]`.

        The background is one minus the maximum over all classes, absent ones included.
        """
        maps = normalize(scores)
        return torch.cat([background(maps), maps * labels[:, :, None, None]], 1)

    def _features(self, network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
        return (
            hierarchical_features(network, stages)
            if self.settings.features == "hierarchical"
            else stages["c4"]
        )

    def _anchors(self, features: Tensor, maps: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the anchors `[B,N+1,D]` (Eq. 4) and which have positions, bool `[B,N+1]`."""
        masks = maps > self.settings.tau
        if self.settings.share is not None:
            masks = highest(maps, self.settings.share, valid)
        masks[:, 0] = maps[:, 0] > self.settings.background
        inputs = features.detach() if self.settings.detached else features
        return masked_average(inputs, masks), masks.flatten(2).any(2)

    def _aware(
        self, bank: Bank, features: Tensor, anchors: Tensor, read: Tensor, aligned: bool = True
    ) -> Tensor:
        """Return the PACAM `[B,N+1,H,W]`, zero except where `read`, bool `[B,N+1]`, is true."""
        s = self.settings
        kind, wide = features.dtype, wide_type(features, anchors)
        features, anchors = features.to(wide), anchors.to(wide)
        out = features.new_zeros(*anchors.shape[:2], *features.shape[2:])
        units = unit(features, dim=1)
        aligned = aligned and s.shift != "none"
        if aligned:  # with the anchors of all workers, so that the number of workers has no effect
            all_anchors, all_read = gather_rows(anchors.detach()), gather_rows(read)
        for index in read.any(0).nonzero().flatten().tolist():
            images, context = read[:, index], bank.prototypes(index).to(anchors)
            class_anchors, class_units = anchors[images, index], units[images]
            if aligned:
                delta = shift(context, all_anchors[all_read[:, index], index])
                class_anchors = class_anchors + delta
                if s.shift == "both":
                    class_units = unit(features[images] + delta[:, None, None], dim=1)
            options = (s.top_k, s.temperature or None, s.weighting, s.measure)
            directions = torch.stack([soft_neighbours(a, context, *options) for a in class_anchors])
            with unlowered(features):
                maps = torch.einsum("bdhw,bd->bhw", class_units, directions)
            out[images, index] = F.relu(maps)
        return out.to(kind)
