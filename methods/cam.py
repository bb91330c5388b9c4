"""CAM: class activation maps of a multi-label classifier, trained and computed as in IRN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..platform.config.presets import Preset, irn_default, irn_paper, irn_release, irn_scenes
from ..platform.method import Batch, Method
from ..platform.models.classifier import Classifier, class_activation_maps, classification_loss


class CAM(Method):
    """Class activation maps, with which all other methods are compared."""

    name = "cam"
    source = "Zhou et al., CVPR 2016; training and inference of IRN, Ahn et al., CVPR 2019"
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(irn_paper),
        "release": Preset(irn_release),
        "default": Preset(irn_default),
        "scenes": Preset(irn_scenes),
    }

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification_loss(network, batch.images, batch.labels)}

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return class_activation_maps(network, images)
