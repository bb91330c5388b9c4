"""CPAL: context prototype-aware learning (Tang et al., CVPR 2024), from the paper alone.

What an image shows of a class (its anchor) is compared with the class's context prototypes, the
clusters of a support bank of earlier anchors; the most related of them, weighted by how much,
give the map (PACAM). Training pulls it and the class map together.
Where the text leaves a choice open, an option names the choices; see `CPALConfig`.
Shapes: B batch, N foreground classes, D channels, H W grid, P context prototypes, Q anchors;
the background plane comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import faiss
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..platform.config.fields import Options, option
from ..platform.config.presets import Preset, irn_default, irn_paper, irn_scenes
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, soft_margin
from ..platform.models.hierarchical_features import (
    HierarchicalFeatures,
    add_hierarchical_features,
    hierarchy,
)
from ..platform.ops.collectives import from_first, gathered
from ..platform.ops.maps import background, merge_flip, normalize
from ..platform.ops.prototypes import cosine_maps, masked_average, unit


@dataclass(frozen=True, kw_only=True)
class CPALConfig(Options):
    """CPAL's own options; numbers are the paper's (section 4.1), choices those of the text's
    gaps that measured best."""

    weight: float = option(1.0, "lambda of the self-supervised loss", low=0, high=1e6)
    tau: float = option(0.1, "class map value from which a position is the anchor's", low=0, high=1)
    slots: int = option(1000, "anchors kept a class, first in first out", low=1, high=1_000_000)
    prototypes: int = option(
        50, "clusters of a bank (N_p), fewer while it holds fewer", low=1, high=100_000
    )
    top_k: int = option(20, "context prototypes that make the map (K)", low=1, high=100_000)
    temperature: float = option(
        0.0,
        "of the positiveness; 0: square root of D (the text has no value for gamma)",
        low=0,
        high=1e6,
    )
    weighting: str = option(
        "weighted",
        "weighted: positiveness ranks and weights the cosines; printed: it cancels (Eqs. 6, 13)",
        choices=("weighted", "printed"),
    )
    measure: str | None = option(
        None,
        "of the positiveness (Table 3), none: the dot product; distances count negatively",
        choices=(None, "cosine", "l1", "l2"),
    )
    shift: str = option(
        "anchors",
        "what the alignment (Eq. 12) moves: the anchors, the features too, or nothing",
        choices=("anchors", "both", "none"),
    )
    features: str = option(
        "hierarchical",
        "v(f), which the text leaves open: SIPE's joined stages, or the last stage as it is",
        choices=("hierarchical", "c4"),
    )
    background: float = option(
        0.5, "background value from which a position is the background anchor's", low=0, high=1
    )
    normalized: bool = option(True, "the loss takes PACAM over its maximum (text: open)")
    detached: bool = option(True, "no gradient through positiveness and ranking (text: open)")
    aligned_inference: bool = option(
        False, "align anchors at inference too; of one image it replaces them by the bank's mean"
    )


def shift(context: Tensor, anchors: Tensor) -> Tensor:
    """What moves a class's anchors to its context: `[P,D]`, `[Q,D]` to `[D]` (Eq. 12)."""
    return context.mean(0) - anchors.mean(0)


def positiveness(
    anchor: Tensor, context: Tensor, temperature: float | None = None, measure: str | None = None
) -> Tensor:
    """How related each context prototype is to the anchor: `[D]`, `[P,D]` to `[P]` (Eq. 7).

    Args:
        anchor: of one class in one image.
        context: prototypes of that class.
        temperature: of the softmax over them; none: square root of D.
        measure: see `CPALConfig`.
    """
    if measure == "cosine":
        near = unit(context) @ unit(anchor)
    elif measure in ("l1", "l2"):
        near = -(context - anchor).norm(p=int(measure[1]), dim=1)
    else:
        near = context @ anchor
    return F.softmax(near / (temperature or anchor.shape[-1] ** 0.5), dim=0)


def soft_neighbours(
    anchor: Tensor,
    context: Tensor,
    top_k: int,
    temperature: float | None = None,
    weighting: str = "weighted",
    measure: str | None = None,
) -> Tensor:
    """The direction `[D]` whose dot product with a unit feature is the weighted mean cosine to
    the `top_k` most related prototypes (Eqs. 6 and 13).

    With `printed`, ranking and mean ignore the positiveness, as it cancels in the equations.
    """
    cosine = unit(context) @ unit(anchor)
    weights = positiveness(anchor, context, temperature, measure)
    if weighting == "printed":
        weights = torch.ones_like(weights)
    chosen = (weights * cosine).topk(min(top_k, len(context))).indices
    share = weights[chosen] / weights[chosen].sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return share @ unit(context[chosen])


def prototype_aware_map(
    features: Tensor,
    anchor: Tensor,
    context: Tensor,
    top_k: int = 20,
    temperature: float | None = None,
) -> Tensor:
    """PACAM of one class: rectified, positiveness-weighted mean cosine.

    Args:
        features: `[D,H,W]`.
        anchor: `[D]`, shifted.
        context: `[P,D]`.
        top_k: of the prototypes, ranked by positiveness times cosine to the anchor.
        temperature: see `positiveness`.

    Returns:
        `[H,W]`.
    """
    direction = soft_neighbours(anchor, context, top_k, temperature)
    return F.relu(torch.einsum("dhw,d->hw", unit(features, dim=0), direction))


class Bank(nn.Module):
    """Anchors seen in training and their clusters, a class each, background first.

    All state is in buffers; every worker holds the same.

    Args:
        classes: N + 1.
        width: D.
        slots: anchors a class.
        prototypes: clusters a class.
    """

    rows: Tensor
    pushed: Tensor
    context: Tensor
    found: Tensor

    def __init__(self, classes: int, width: int, slots: int, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(classes, slots, width))
        self.register_buffer("pushed", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("context", torch.zeros(classes, prototypes, width))
        self.register_buffer("found", torch.zeros(classes, dtype=torch.long))

    def prototypes(self, index: int) -> Tensor:
        """`[P,D]`: the context prototypes of a class, none before the first clustering."""
        return self.context[index, : int(self.found[index])]

    @torch.no_grad()
    def push(self, anchors: Tensor, present: Tensor) -> None:
        """Keeps the anchors of all workers' batches, in the order of workers and images.

        Args:
            anchors: `[B,N+1,D]`, before any shift.
            present: bool `[B,N+1]`.
        """
        slots = self.rows.shape[1]
        anchors, present = gathered(anchors.float()), gathered(present)
        for index in range(len(self.rows)):
            rows = anchors[present[:, index], index][-slots:]
            at = (self.pushed[index] + torch.arange(len(rows), device=rows.device)) % slots
            self.rows[index, at] = rows
            self.pushed[index] += len(rows)

    @torch.no_grad()
    def cluster(self, seed: int) -> None:
        """The context prototypes anew: k-means of each class's anchors, on the first worker."""
        for index, pushed in enumerate(self.pushed.tolist()):
            rows = self.rows[index, : min(pushed, self.rows.shape[1])].cpu()
            count = min(self.context.shape[1], len(rows))
            self.context[index] = 0
            if count:
                self.context[index, :count] = kmeans(rows, count, seed).to(self.context)
            self.found[index] = count
        from_first(self.context)


def kmeans(rows: Tensor, clusters: int, seed: int) -> Tensor:
    """`[R,D]` to cluster means `[K,D]`, by faiss."""
    algorithm = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=20,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    algorithm.train(rows.numpy())
    return torch.from_numpy(algorithm.centroids)


class CPAL(Method):
    """Context prototype-aware learning."""

    name = "cpal"
    source = "Tang et al., CVPR 2024 (paper only; no code was released)"
    own_background = True
    revision = 2  # anchors as long as learnt
    keeps_prototypes = True
    at_inference = ("aligned_inference",)
    Config = CPALConfig
    settings: CPALConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(irn_paper, CPALConfig(weighting="printed")),
        "default": Preset(irn_default, CPALConfig(tau=0.6)),
        "scenes": Preset(irn_scenes),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "classification only": {"cpal.weight": 0.0},
        "plain context": {"cpal.weighting": "printed", "cpal.top_k": 50, "cpal.shift": "none"},
        "aware": {"cpal.weighting": "weighted", "cpal.shift": "none"},
        "aware and aligned": {"cpal.weighting": "weighted"},
    }

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
        anchors, present = self._anchors(features, maps)
        bank = network.extra("cpal", Bank)
        read = present & (bank.found > 0)
        aware = self._aware(bank, features, anchors, read) * valid
        if self.settings.normalized:
            aware = normalize(aware)
        bank.push(anchors.detach(), present)
        distance = (maps * read[:, :, None, None] - aware).abs().mean()
        unused = 0.0 * features.mean()  # before the first clusters nothing else reaches them
        return {
            "classification": soft_margin(scores, batch.labels),
            "self": self.settings.weight * distance + unused,
        }

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        stages = network.features(torch.cat([images, images.flip(-1)]))
        scores = merge_flip(*network.head(stages["c4"]).chunk(2))
        features = merge_flip(*self._features(network, stages).chunk(2)) / 2  # as long as learnt
        present = torch.cat([torch.ones_like(labels[:, :1]), labels], 1).to(features)
        anchors, there = self._anchors(features, self._maps(scores, torch.ones_like(labels)))
        there &= present.bool()
        if "cpal" not in network.extras or not network.extra("cpal", Bank).found.any():
            return cosine_maps(features, anchors * there[:, :, None])  # the image's anchors alone
        bank = network.extra("cpal", Bank)
        if self.settings.aligned_inference:
            means = [bank.prototypes(n).mean(0) for n in range(anchors.shape[1])]
            anchors = torch.stack(means).nan_to_num().to(anchors).expand_as(anchors)
        return self._aware(bank, features, anchors, there & (bank.found > 0), aligned=False)

    def compared(
        self, network: Classifier, images: Tensor
    ) -> tuple[Tensor, Mapping[int, Tensor]] | None:
        if "cpal" not in network.extras:
            return None
        bank = network.extra("cpal", Bank)
        kept = {n: bank.prototypes(n) for n in bank.found.nonzero().flatten().tolist()}
        return self._features(network, network.features(images)), kept

    def _maps(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Scores `[B,N,H,W]` to class maps under their background, `[B,N+1,H,W]`; the
        background is what no class claims, absent ones among them."""
        maps = normalize(scores)
        return torch.cat([background(maps), maps * labels[:, :, None, None]], 1)

    def _features(self, network: Classifier, stages: Mapping[str, Tensor]) -> Tensor:
        return (
            hierarchy(network, stages) if self.settings.features == "hierarchical" else stages["c4"]
        )

    def _anchors(self, features: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The anchors `[B,N+1,D]` (Eq. 4), and bool `[B,N+1]`: which there are."""
        floor = torch.full((maps.shape[1],), self.settings.tau, device=maps.device)
        floor[0] = self.settings.background
        masks = maps > floor[:, None, None]
        source = features.detach() if self.settings.detached else features
        return masked_average(source, masks), masks.flatten(2).any(2)

    def _aware(
        self, bank: Bank, features: Tensor, anchors: Tensor, read: Tensor, aligned: bool = True
    ) -> Tensor:
        """PACAM `[B,N+1,H,W]` of the classes that bool `[B,N+1]` says; zero for others."""
        s = self.settings
        out = features.new_zeros(*anchors.shape[:2], *features.shape[2:])
        units = unit(features, dim=1)
        aligned = aligned and s.shift != "none"
        if aligned:  # with the anchors of all workers, so that their number does not matter
            every, there = gathered(anchors.detach()), gathered(read)
        for index in read.any(0).nonzero().flatten().tolist():
            own, context = read[:, index], bank.prototypes(index).to(anchors)
            of_class, moved = anchors[own, index], units[own]
            if aligned:
                delta = shift(context, every[there[:, index], index])
                of_class = of_class + delta
                if s.shift == "both":
                    moved = unit(features[own] + delta[:, None, None], dim=1)
            how = (s.top_k, s.temperature or None, s.weighting, s.measure)
            directions = torch.stack([soft_neighbours(a, context, *how) for a in of_class])
            out[own, index] = F.relu(torch.einsum("bdhw,bd->bhw", moved, directions)).to(out)
        return out
