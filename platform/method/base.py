"""The interface of a method: losses for training and a localizer; or a localizer on CLIP alone.

The losses (`losses`) train the network; the localizer (`localize`) turns a trained network into
class maps. Any localizer works with any network that offers `features` (stages c1..c4) and
`class_weights`.
Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid, K clusters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ..config.fields import Options, values_in_key
from ..errors import InputError
from ..models.backbones import Backbone
from ..models.classifier import Classifier
from ..models.clip.image_tower import PositionEmbedding
from ..ops.maps import normalize
from .learner import Batch, Learner

if TYPE_CHECKING:
    from ..config.presets import Preset


class Method(Learner):
    """Method of weakly supervised segmentation.

    Subclasses set `name`, `source`, `Config` (the options of the method, frozen, with defaults from
    the paper) and `presets` by name: `paper`, `release` (as in the authors' code) and `default`
    (measured best in this project). State that training changes lives in buffers of the network, so
    that checkpoints hold it.
    """

    source: ClassVar[str]
    """The publication of the method."""
    trains: ClassVar[bool] = True
    """Whether the method trains a network, from whose features a localizer reads class maps."""
    weights_field: ClassVar[str] = "network.weights"
    """The field that `--weights` sets: the weight file of the network that makes class maps."""
    trains_as: ClassVar[str] = ""
    """The name of the method whose training this method shares; empty: it has its own training."""
    own_background: bool = False
    """Whether `localize` returns a background plane too, as the first plane; labels are then the
    planes of the highest value, without a threshold. Options may decide it."""
    fuses: bool = False
    """Whether the class maps of another localizer pass through `fuse`. Options may decide it."""
    keeps_prototypes: ClassVar[bool] = False
    """Whether training keeps prototypes in the network, which `features_and_prototypes` returns."""
    needs_baseline: ClassVar[bool] = False
    """Whether training needs the probabilities of a segmenter trained on a baseline's labels."""
    changes_classification: bool = False
    """Whether the loss term `classification` is another than that of the class scores alone.
    Options may decide it."""
    revision: ClassVar[int] = 1
    """Version of `localize`, raised whenever it returns different maps for the same network."""
    code: ClassVar[str] = ""
    """Digest of the source code of a method that is registered (`registry.register`) or installed
    with `pip install --editable`; empty for other installed methods."""
    inference_options: ClassVar[tuple[str, ...]] = ()
    """The options that only `localize` reads, so that a change needs no new training."""
    ablation: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Rows of `wsss ablate`: the title of each, and its options by dotted name."""
    Config: ClassVar[type[Options]] = Options
    """The options of the method."""
    presets: ClassVar[Mapping[str, Preset]]
    """The presets of the method by name."""

    def __init__(self, settings: Options) -> None:
        self.settings = settings

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Classifier:
        """Return a classifier with the modules that the method adds."""
        network = self.classifier(classes, backbone, frozen_stages)
        self.extend(network)
        return network

    def classifier(self, classes: int, backbone: Backbone, frozen_stages: int) -> Classifier:
        """Return the classifier to which `extend` adds modules, see `network`."""
        return Classifier(backbone, classes, frozen_stages)

    @property
    def has_own_network(self) -> bool:
        """Whether the method extends another network than the plain classifier."""
        return type(self).classifier is not Method.classifier

    @property
    def changes_network(self) -> bool:
        """Whether the method trains another network than the plain classifier."""
        kind = type(self)
        changed = kind.extend is not Method.extend or kind.network is not Method.network
        return self.has_own_network or changed

    def extend(self, network: Classifier) -> None:
        """Add the modules and buffers of the method to a network, as `network.extras[self.name]`.

        Methods that are trained together all extend the same network.
        """

    def begin_step(self, network: Classifier, progress: float) -> None:
        """Prepare a network for a training step, before it computes features.

        Args:
            network: network in training mode.
            progress: share of the training that is done, 0 to below 1.
        """

    def training_settings(self) -> dict[str, object]:
        """Return the values of the options that training reads, by name."""
        values = values_in_key(self.settings)
        read = {name: value for name, value in values.items() if name not in self.inference_options}
        return {**read, **self.code_settings()}

    def backbone_settings(self, backbone: str) -> dict[str, object]:
        """Return settings that tell a network from one trained by an earlier version, by name.

        They hold for trainings with this backbone, and enter the key of the network, so that a
        network of an earlier version is trained anew.
        """
        return {}

    def localizer_settings(self) -> dict[str, object]:
        """Return all values that `localize` may depend on beside the network, by name."""
        return {**values_in_key(self.settings), **self.revision_settings()}

    def inference_network_settings(self) -> dict[str, object]:
        """Return the values of `inference_options` that change the network itself at inference.

        They are those that `extend` or `classifier` reads, by name; a value that leaves the network
        as training made it is left out. Other localizers read the changed network, too, so these
        values enter the keys of their class maps.
        """
        return {}

    def revision_settings(self) -> dict[str, object]:
        """Return the version and the source code of the localizer, where keys name them."""
        changed = {"revision": self.revision} if self.revision > 1 else {}
        return {**changed, **self.code_settings()}

    def code_settings(self) -> dict[str, object]:
        """Return the digest of the source code as a setting; none for an installed method."""
        return {"source code": self.code} if self.code else {}

    def features_and_prototypes(
        self, network: Classifier, images: Tensor
    ) -> tuple[Tensor, Mapping[int, Tensor]] | None:
        """Return what `localize` compares, for figures; None if training kept no prototypes.

        Returns:
            Features of the images, `[B,D,h,w]`, and by mask value the prototypes that training
            kept, `[P,D]`.
        """
        return None

    @abstractmethod
    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return the class maps of images at one scale.

        Args:
            network: network in evaluation mode.
            images: normalised images, `[B,3,H,W]`; the method adds the mirror images itself.
            labels: image labels, `[B,N]`; maps of absent classes may have any value.

        Returns:
            `[B,N,h,w]`, not negative and not normalised; with `own_background`, `[B,N+1,h,w]`.
        """

    def normalize(self, maps: Tensor) -> Tensor:
        """Return class maps, summed over all views, with values in 0..1: `[...,H,W]`."""
        return normalize(maps)

    def check_sharing(self, other: str) -> None:
        """Check that the network serves the losses and the localizer of another method.

        Args:
            other: name of the method.

        Raises:
            InputError: the network lacks what all other methods need.
        """

    def fuse(self, network: Classifier, images: Tensor, maps: Tensor) -> Tensor:
        """Return the class maps of another localizer after all that the network adds to its own.

        Only a method with `fuses` is asked for it.

        Args:
            network: network of this method, in evaluation mode.
            images: normalised images, `[B,3,H,W]`; no mirror images are added.
            maps: class maps of the images by another localizer, `[B,N,h,w]`, on the grid of c4.

        Returns:
            `[B,N,h,w]`, not negative and not normalised.
        """
        return maps

    def divider(self) -> Method:
        """Return the localizer whose maps divide features for a localizer with prototypes."""
        return self


class CLIPMethod(Method):
    """A localizer on a published CLIP network, without any training.

    Its stages are: the network of a checkpoint file, embeddings of texts (`texts`), the tokens that
    enter the last block, attentions between patches, initial class maps from a gradient in the last
    block (`gradient_maps`), and the class maps (`refine`). So a change of texts looks at no image
    again, and a change of an option of `refine` computes no gradient again.
    Shapes: T = 1 + h w tokens, D channels, M further texts, E channels of an embedding,
    K present classes.
    """

    trains = False
    initial: ClassVar[str]
    """The name of the initial class maps among the results of a run."""
    refine_options: ClassVar[tuple[str, ...]]
    """The options that only `refine` reads."""

    @property
    @abstractmethod
    def checkpoint(self) -> str | None:
        """The file of CLIP's weights; None: none is given."""

    @property
    @abstractmethod
    def position_embedding(self) -> PositionEmbedding:
        """How CLIP's position embedding is resized."""

    @property
    @abstractmethod
    def attention_blocks(self) -> int:
        """The number of last blocks whose attentions are averaged."""

    @abstractmethod
    def texts(self, classes: Sequence[str]) -> list[list[str]]:
        """Return the sentences of each text: first the texts of the classes, then further ones."""

    @abstractmethod
    def gradient_maps(
        self, visual: Any, tokens: Tensor, texts: Tensor, scale: float, present: int
    ) -> Tensor:
        """Return the initial class maps of an image, float32 `[K,hw]`, not negative.

        Args:
            visual: image tower.
            tokens: tokens that enter the last block, float32 `[T,D]`.
            texts: unit embeddings of the present classes, then of all further texts, `[K+M,E]`.
            scale: factor on cosines of image and text.
            present: K, the number of present classes.
        """

    @abstractmethod
    def normalize(self, maps: Tensor) -> Tensor:
        """Return class maps `[K,h,w]` with values in 0..1."""

    @abstractmethod
    def refine(self, attention: Tensor, maps: Tensor) -> Tensor:
        """Return the class maps of an image, `[K,h,w]`, from its initial maps.

        Args:
            attention: mean attention between patches, float32 `[hw,hw]`, query first, up to a
                factor.
            maps: result of `gradient_maps` on the grid, `[K,h,w]`.
        """

    def refine_settings(self) -> dict[str, object]:
        """Return what `refine` depends on beside its arguments, by name."""
        values = values_in_key(self.settings)
        return {**{n: values[n] for n in self.refine_options}, **self.revision_settings()}

    def network(self, classes: int, backbone: Backbone, frozen_stages: int = 0) -> Classifier:
        raise InputError(f"{self.name} trains no network")

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise InputError(f"{self.name} trains no network")

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        raise InputError(f"{self.name} reads no trained classifier; it has a network of its own")
