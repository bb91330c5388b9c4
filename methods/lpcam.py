"""LPCAM: class maps from local prototypes (Chen and Sun, CVPR 2023).

The class map splits the local features of a class into foreground and context, which are clustered
separately. The cluster centres that the classifier is sure of become prototypes. The LPCAM is the
mean similarity to the foreground prototypes minus the mean similarity to the context prototypes.
Shapes: B batch, N foreground classes, D channels, H W grid, K centres, P prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

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
from ..platform.method import Batch, Centers, Clustering, PrototypeMethod
from ..platform.models.classifier import Classifier, classification_loss
from ..platform.ops.prototypes import unit


@dataclass(frozen=True, kw_only=True)
class LPCAMConfig(Options):
    """Options of LPCAM; the defaults are the paper's for VOC (section 4.1)."""

    split: str = option("train", "Split whose features are clustered (VOC code: train.txt).")
    K: int = option(
        12,
        "Number of clusters of each class's foreground, and of its context (COCO: 20).",
        low=1,
        high=4_096,
    )
    tau: float = option(
        0.1,
        "Class map value above which a feature is foreground, below which context (COCO: 0.25).",
        low=0,
        high=1,
    )
    mu_f: float = option(
        0.9,
        "Class score (softmax) above which a centre of the foreground becomes a prototype.",
        low=0,
        high=1,
    )
    mu_b: float = option(
        0.9,
        "Class score below which a centre of the context becomes a prototype (COCO: 0.5).",
        low=0,
        high=1,
    )
    mu_b_low: float = option(
        0.0,
        "Class score above which, and below mu_b, a centre of the context becomes a prototype "
        "(paper: no such bound; code: VOC 0.05, COCO 0).",
        low=0,
        high=1,
    )
    tolerance: float = option(
        5e-3,
        "Movement of the centres, as a share of their length, below which k-means ends (paper: "
        "silent; code: lpcam.shift).",
        low=0,
        high=1_000,
    )
    shift: float | None = option(
        None,
        "Square of the sum of the centres' movements, below which k-means ends (code: 5); none: "
        "lpcam.tolerance holds.",
        low=0,
        high=1e9,
        added=True,
    )
    max_iterations: int = option(
        100, "Largest number of rounds of k-means (code: no limit).", low=1, high=1_000_000
    )
    images: int | None = option(
        None,
        "Images of a class that are clustered, drawn at random; none: all (COCO: 100).",
        low=1,
        high=100_000_000,
    )
    spherical: bool = option(
        False, "Compute centres as means of unit features (in neither paper nor code)."
    )


def lpcam_levels(e: Experiment) -> Experiment:
    """Refine with the thresholds of the authors' code for VOC and COCO; the paper gives none."""
    return replace(e, refine=replace(e.refine, foreground=0.45, background=0.25, final=0.35))


def paper(e: Experiment) -> Experiment:
    """Train all stages and refine with LPCAM's thresholds, otherwise as IRN's paper says."""
    return freeze(lpcam_levels(irn_paper(e)), 0)


def release(e: Experiment) -> Experiment:
    """Train all stages and refine with LPCAM's thresholds, otherwise as IRN's code does."""
    return freeze(lpcam_levels(irn_release(e)), 0)


class LPCAM(PrototypeMethod):
    """Local prototype CAM on a classifier that is trained as for CAM."""

    name = "lpcam"
    source = "Chen and Sun, CVPR 2023"
    trains_as = "cam"
    least_classes = 2  # the softmax over a single class is 1, whatever the centre
    selection = ("mu_f", "mu_b", "mu_b_low")
    Config = LPCAMConfig
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(paper),
        "release": Preset(release, LPCAMConfig(mu_b_low=0.05, shift=5.0)),
        "release-coco": Preset(
            release, LPCAMConfig(K=20, tau=0.25, mu_b=0.5, images=100, shift=5.0)
        ),
        "default": Preset(irn_default, LPCAMConfig(tau=0.3, mu_b_low=0.05)),
        "scenes": Preset(irn_scenes, LPCAMConfig(mu_b_low=0.05)),
    }
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "foreground prototypes": {"lpcam.mu_b": 0.0},
        "foreground and context prototypes": {},
    }
    settings: LPCAMConfig

    @property
    def clustering(self) -> Clustering:
        s = self.settings
        return Clustering(
            split=s.split,
            threshold=s.tau,
            clusters=s.K,
            spherical=s.spherical,
            tolerance=s.tolerance,
            shift=s.shift,
            max_iterations=s.max_iterations,
            images=s.images,
        )

    def select(
        self,
        centers: Centers,
        class_weights: Tensor,
        index: int,
        class_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Select centres by the classifier's score (Eqs. 3 and 4), see `class_scores`.

        If no foreground centre passes, the one with the highest score is selected (the authors'
        COCO code; their VOC code crashes in this case).
        """
        s = self.settings
        foreground, context = centers.foreground, centers.context
        scores = class_scores(foreground, class_weights, class_bias)[:, index]
        passed = scores > s.mu_f
        if len(scores) and not passed.any():
            passed[scores.argmax()] = True
        scores = class_scores(context, class_weights, class_bias)[:, index]
        return passed, (scores < s.mu_b) & (scores > s.mu_b_low)

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification_loss(network, batch.images, batch.labels)}


def class_scores(centers: Tensor, classifier: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the class scores of each cluster centre, a softmax over the classes.

    Centres and weights are not normalised, and there is no temperature. In the denominator, the
    paper's Eqs. 3 and 4 sum over centres; its code, followed here, sums over the classes.

    Args:
        centers: `[K,D]`.
        classifier: class weights, `[N,D]`.
        bias: class bias, `[N]`; None: the classifier has no bias.

    Returns:
        `[K,N]`.
    """
    scores = centers @ classifier.T
    return F.softmax(scores if bias is None else scores + bias, dim=1)


def local_prototype_maps(features: Tensor, foreground: Tensor, context: Tensor) -> Tensor:
    """Return the rectified difference of mean cosines to foreground and context (Eqs. 5 and 6).

    Args:
        features: `[B,D,H,W]`, at one scale.
        foreground: foreground prototypes, `[P1,D]`, at least one.
        context: context prototypes, `[P2,D]`; with none, the mean cosine to the foreground is
            returned, not rectified.

    Returns:
        `[B,H,W]`.
    """
    near = mean_cosine(features, foreground)
    return F.relu(near - mean_cosine(features, context)) if len(context) else near


def mean_cosine(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the mean cosine to prototypes, not rectified: `[B,D,H,W]`, `[P,D]` to `[B,H,W]`."""
    return torch.einsum("bdhw,pd->bphw", unit(features, dim=1), unit(prototypes)).mean(1)
