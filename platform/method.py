"""What a method is, and how methods are found.

A method has two faces: what it adds to training (`losses`), and its localizer (`localize`): how
a trained network turns into class maps. Any localizer reads any network that offers `features`
(stages c1..c4) and `class_weights`.
Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid, K clusters.
"""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from .errors import InputError
from .learner import Learner
from .models.backbones import Backbone
from .models.classifier import Classifier
from .ops.maps import merge_flip
from .ops.prototypes import unit
from .options import Options, fingerprint

if TYPE_CHECKING:
    from .presets import Preset


class Method(Learner):
    """A method of weakly supervised segmentation.

    Subclasses set `name`, `source`, `Config` (its own options, frozen, with defaults from the
    paper) and `presets`, by name: `paper`, `release` (what the authors' code does) and `default`
    (what works best here). State that training changes lives in buffers of the network, so
    checkpoints carry it.
    """

    source: ClassVar[str]
    trains_as: ClassVar[str] = ""
    """The method whose training this one shares, if it adds none of its own."""
    own_background: ClassVar[bool] = False
    """Whether `localize` gives a background plane too, first; labels are then the best plane,
    without a threshold."""
    keeps_prototypes: ClassVar[bool] = False
    """Whether training keeps prototypes in the network, see `compared`."""
    needs_host: ClassVar[bool] = False
    """Whether training reads the probabilities of a segmenter that learnt a host's labels."""
    revision: ClassVar[int] = 1
    """Raised when `localize` would give other maps of the same network."""
    at_inference: ClassVar[tuple[str, ...]] = ()
    """The options that only `localize` reads: they change without another training."""
    ablation: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What the method's parts contribute: options by dotted name, by title (`wsss ablate`)."""
    Config: ClassVar[type[Options]] = Options
    presets: ClassVar[Mapping[str, Preset]]

    def __init__(self, settings: Options) -> None:
        self.settings = settings

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Classifier:
        """A classifier with what the method adds."""
        network = Classifier(backbone, classes, frozen_stages)
        self.extend(network)
        return network

    def extend(self, network: Classifier) -> None:
        """Adds modules and buffers of the method's own, as `network.extras[self.name]`.

        Methods that are trained together all extend one network.
        """

    def training_settings(self) -> dict[str, Any]:
        """The options that training reads, as plain values."""
        own = fingerprint(self.settings)
        return {name: value for name, value in own.items() if name not in self.at_inference}

    def reading_settings(self) -> dict[str, Any]:
        """What `localize` may depend on beside the network, as plain values: all options."""
        changed = {"revision": self.revision} if self.revision > 1 else {}
        return {**fingerprint(self.settings), **changed}

    def compared(
        self, network: Classifier, images: Tensor
    ) -> tuple[Tensor, Mapping[int, Tensor]] | None:
        """What `localize` compares, to be shown: features `[B,D,h,w]` of images, and prototypes
        `[P,D]` that training kept, by mask value; none where there are no such prototypes."""
        return None

    @abstractmethod
    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Class maps of images at one scale, not normalised: `[B,N,h,w]`, non-negative;
        `[B,N+1,h,w]` with `own_background`.

        Args:
            network: in evaluation mode.
            images: `[B,3,H,W]`, normalised; the method adds the mirror image itself.
            labels: `[B,N]`; maps of absent classes may be anything.
        """


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


@cache
def methods() -> dict[str, type[Method]]:
    """All methods by name, from the entry points of group `wsss.methods`."""
    found: dict[str, type[Method]] = {}
    for point in importlib.metadata.entry_points(group="wsss.methods"):
        found[point.name] = point.load()
    return dict(sorted(found.items()))


def find(name: str) -> type[Method]:
    """The method called `name`.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if name not in methods():
        raise InputError(f"unknown method {name!r}; there are {', '.join(methods())}")
    return methods()[name]
