"""What a method is, and how methods are found.

A method has two faces: what it adds to training (`losses`), and its localizer (`localize`): how
a trained network turns into class maps. Any localizer reads any network that offers `features`
(stages c1..c4) and `class_weights`.
Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid, K clusters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ..config.fields import Options, fingerprint
from ..models.backbones import Backbone
from ..models.classifier import Classifier
from .learner import Learner

if TYPE_CHECKING:
    from ..config.presets import Preset


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
    needs_baseline: ClassVar[bool] = False
    """Whether training reads the probabilities of a segmenter that learnt a baseline's labels."""
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
