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
    """How local features of a class are split and clustered (LPCAM Eq. 2).

    Attributes:
        split: the split whose features are clustered.
        threshold: a feature counts as foreground where the class map exceeds it, as context
            where it is below, as neither where equal.
        clusters: K, on each side.
        spherical: whether centres are means of unit vectors; else means of raw features.
        tolerance: stop when the summed movement of the centres, over their summed length,
            falls below it.
        max_iterations: stop then in any case.
        images: of each class, drawn at random; none: all.
    """

    split: str
    threshold: float
    clusters: int
    spherical: bool = False
    tolerance: float = 1e-3
    max_iterations: int = 100
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Centers:
    """Cluster centres of one class, `[K,D]` each; no rows where a side has no features."""

    foreground: Tensor
    context: Tensor


class PrototypeMethod(Method):
    """A localizer that compares unit features with prototypes found by clustering.

    The mean of cosines with a set of prototypes is one dot product of the unit feature with the
    mean of the unit prototypes. So a class needs just one direction, and a sweep over the
    selection of prototypes costs one matrix product an image.
    """

    selection: ClassVar[tuple[str, ...]]
    """The options that `select` reads; the others belong to `clustering`."""
    shares: Mapping[int, Tensor]
    """Of each class, what each of its centres counts in the mean, `[P]`; set by `fit`."""
    directions: Tensor | None = None
    """`[N,D]`, what unit features are multiplied with; set by `fit`."""

    @property
    @abstractmethod
    def clustering(self) -> Clustering:
        """How features are split and clustered."""

    @abstractmethod
    def select(self, centers: Centers, class_weights: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Which centres of class `index` are prototypes: foreground bool `[K1]`, context `[K2]`."""

    def fit(self, centers: Mapping[int, Centers], class_weights: Tensor) -> dict[int, list[int]]:
        """Sets `shares` and `directions` from the centres of each class.

        Returns:
            For each class how many prototypes were selected: foreground, context.
        """
        shares, counts = {}, {}
        self.directions = torch.zeros_like(class_weights)
        for index, of_class in centers.items():
            both = torch.cat([of_class.foreground, of_class.context])
            sides = [side.to(both) for side in self.select(of_class, class_weights, index)]
            counts[index] = [int(side.sum()) for side in sides]
            near, far = (side / side.sum().clamp(min=1) for side in sides)
            shares[index] = torch.cat([near, -far if near.any() else 0 * far])
            self.directions[index] = shares[index] @ unit(both)
        self.shares = shares
        return counts

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        assert self.directions is not None, "fit comes before localize"
        features = network.features(torch.cat([images, images.flip(-1)]))["c4"]
        fused = unit(merge_flip(*features.chunk(2)), dim=1)
        return torch.einsum("bdhw,nd->bnhw", fused, self.directions).clamp(min=0)
