"""A method that trains several methods together on one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..config.fields import Options
from ..errors import InputError
from ..models.backbones import Backbone
from ..models.classifier import Classifier, with_kept_features
from .base import Method
from .learner import Batch

CLASSIFICATION = "classification"
"""Name of the loss term that methods which train together share."""


class Joint(Method):
    """Several methods trained together: the sum of their losses, and the localizer of the first.

    The classification loss counts once: that of the first method which changes it, and otherwise
    that of the first method. Other terms of the same name all count.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__(Options())
        self.methods = tuple(methods)
        self.name = "-".join(m.name for m in methods)  # type: ignore[misc]
        self.own_background = methods[0].own_background
        self.fuses = methods[0].fuses
        self.keeps_prototypes = methods[0].keeps_prototypes  # type: ignore[misc]
        self.needs_baseline = any(m.needs_baseline for m in methods)  # type: ignore[misc]

    def classifier(self, classes: int, backbone: Backbone, frozen_stages: int) -> Classifier:
        return self.methods[0].classifier(classes, backbone, frozen_stages)

    @property
    def has_own_network(self) -> bool:
        return self.methods[0].has_own_network

    def extend(self, network: Classifier) -> None:
        for method in self.methods:
            method.extend(network)

    def training_settings(self) -> dict[str, object]:
        settings = {m.name: m.training_settings() for m in self.methods}
        changed = any(m.changes_classification for m in self.methods[:-1])
        late = any(own.get("suppression_start") for own in settings.values())
        anew = changed or late or {"sipe", "psdpm"} <= {*settings}
        return {**settings, **({"terms": 2} if anew else {})}  # 2: all losses, in their step

    def backbone_settings(self, backbone: str) -> dict[str, object]:
        return _joined({m.name: m.backbone_settings(backbone) for m in self.methods})

    def localizer_settings(self) -> dict[str, object]:
        further = {m.name: m.inference_network_settings() for m in self.methods[1:]}
        return {**self.methods[0].localizer_settings(), **_joined(further)}

    def inference_network_settings(self) -> dict[str, object]:
        return _joined({m.name: m.inference_network_settings() for m in self.methods})

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.begin_step(network, progress)
        shared = with_kept_features(network, batch.images)
        losses = {m.name: m.losses(shared, batch, progress) for m in self.methods}
        named = sorted(self.methods, key=lambda m: not m.changes_classification)
        first = next((m.name for m in named if CLASSIFICATION in losses[m.name]), "")
        terms = {CLASSIFICATION: losses[first][CLASSIFICATION]} if first else {}
        for method, own in losses.items():
            for name, term in own.items():
                if name != CLASSIFICATION:
                    terms[f"{name}_{method}" if name in terms else name] = term
        return terms

    def begin_step(self, network: Classifier, progress: float) -> None:
        for method in self.methods:
            method.begin_step(network, progress)

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return self.methods[0].localize(network, images, labels)

    def normalize(self, maps: Tensor) -> Tensor:
        return self.methods[0].normalize(maps)

    def check_sharing(self, other: str) -> None:
        self.methods[0].check_sharing(other)

    def fuse(self, network: Classifier, images: Tensor, maps: Tensor) -> Tensor:
        return self.methods[0].fuse(network, images, maps)

    def divider(self) -> Method:
        return self.methods[0].divider()

    def features_and_prototypes(
        self, network: Classifier, images: Tensor
    ) -> tuple[Tensor, Mapping[int, Tensor]] | None:
        return self.methods[0].features_and_prototypes(network, images)

    @property
    def superpixels(self) -> str:
        return next((m.superpixels for m in self.methods if m.superpixels), "")

    def check_files(self) -> None:
        for method in self.methods:
            method.check_files()

    def on_epoch_start(self, network: Classifier, epoch: int) -> None:
        for method in self.methods:
            method.on_epoch_start(network, epoch)

    def after_training(self, network: Classifier) -> None:
        for method in self.methods:
            method.after_training(network)


def _joined(by_method: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Return the settings of several methods by dotted name."""
    return {
        f"{m}.{name}": value for m, values in by_method.items() for name, value in values.items()
    }


def join_methods(methods: Sequence[Method]) -> Method:
    """Return one method that trains all methods together; a single method is returned itself.

    Raises:
        InputError: one of several methods adds nothing to training, trains nothing, or needs a
            network that the first method does not make.
    """
    if len(methods) == 1:
        return methods[0]
    for method in methods:
        if not method.trains:
            raise InputError(f"{method.name} trains nothing, so it joins no method; run it alone")
        if method.trains_as:
            raise InputError(f"{method.name} adds nothing to training; use it as --localizer")
    for method in methods[1:]:
        methods[0].check_sharing(method.name)
        if method.has_own_network:
            raise InputError(
                f"{method.name} has a network of its own; name it first: "
                f"{method.name}+{methods[0].name}"
            )
    return Joint(methods)
