"""Localizers that compare features with prototypes found by clustering."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..models.classifier import Classifier
from ..ops.maps import merge_flip
from ..ops.prototypes import unit
from .base import Method


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """Options of splitting and clustering the local features of a class (LPCAM Eq. 2).

    Attributes:
        split: the split whose features are clustered.
        threshold: a feature counts as foreground where the class map exceeds it, as context
            where it is below, as neither where equal.
        clusters: K, the number of clusters of foreground, and of context.
        spherical: whether centres are means of unit vectors; else means of raw features.
        tolerance: k-means ends when the summed movement of the centres over their summed length
            falls below this value.
        shift: k-means ends instead when the square of the summed movement falls below this value;
            None: `tolerance` holds.
        max_iterations: largest number of rounds of k-means.
        images: number of images of each class, drawn at random; None: all.
    """

    split: str
    threshold: float
    clusters: int
    spherical: bool = False
    tolerance: float = 1e-3
    shift: float | None = None
    max_iterations: int = 100
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Centers:
    """Cluster centres of one class, `[K,D]` for foreground and context.

    A tensor has no rows where there are no features to cluster.
    """

    foreground: Tensor
    context: Tensor


class PrototypeMethod(Method):
    """A localizer that compares unit features with prototypes found by clustering.

    The mean of the cosines to a set of prototypes is one dot product of the unit feature with the
    mean of the unit prototypes. So a class needs only one direction, and a sweep over the
    selection of prototypes costs one matrix product for each image.
    """

    least_classes: ClassVar[int] = 1
    """The smallest number of classes among which `select` can tell centres apart."""
    selection: ClassVar[tuple[str, ...]]
    """The options that `select` reads; all further options belong to `clustering`."""
    shares: Mapping[int, Tensor]
    """By class, the weight of each centre in the mean, `[P]`; set by `fit`."""
    directions: Tensor | None = None
    """The vectors with which unit features are multiplied, `[N,D]`; set by `fit`."""

    @property
    @abstractmethod
    def clustering(self) -> Clustering:
        """Return the options of splitting and clustering features."""

    @abstractmethod
    def select(
        self,
        centers: Centers,
        class_weights: Tensor,
        index: int,
        class_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return which centres of a class are prototypes.

        Args:
            centers: centres of the class.
            class_weights: `[N,D]`.
            index: index of the class.
            class_bias: `[N]`; None: the classifier has no bias.

        Returns:
            Bool `[K1]` for the foreground and bool `[K2]` for the context.
        """

    def fit(
        self,
        centers: Mapping[int, Centers],
        class_weights: Tensor,
        class_bias: Tensor | None = None,
    ) -> dict[int, list[int]]:
        """Set `shares` and `directions` from the centres of each class.

        Args:
            centers: centres by class.
            class_weights: `[N,D]`.
            class_bias: `[N]`; None: the classifier has no bias.

        Returns:
            By class, the numbers of prototypes selected from foreground and context.
        """
        shares, counts = {}, {}
        self.directions = torch.zeros_like(class_weights)
        for index, class_centers in centers.items():
            rows = torch.cat([class_centers.foreground, class_centers.context])
            selected = self.select(class_centers, class_weights, index, class_bias)
            masks = [mask.to(rows) for mask in selected]
            counts[index] = [int(mask.sum()) for mask in masks]
            near, far = (mask / mask.sum().clamp(min=1) for mask in masks)
            shares[index] = torch.cat([near, -far if near.any() else 0 * far])
            self.directions[index] = shares[index] @ unit(rows)
        self.shares = shares
        return counts

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        assert self.directions is not None, "fit comes before localize"
        features = network.features(torch.cat([images, images.flip(-1)]))["c4"]
        fused = unit(merge_flip(*features.chunk(2)), dim=1)
        directions = self.directions.to(fused)
        return torch.einsum("bdhw,nd->bnhw", fused, directions).clamp(min=0)
