"""CAM: class activation maps of a multi-label classifier, as IRN trains and reads them."""

from __future__ import annotations

from torch import Tensor

from ..platform.learner import Batch
from ..platform.method import IRN_PRESETS, Method
from ..platform.models.classifier import Classifier, class_activation_maps, classification_loss


class CAM(Method):
    """Plain class activation maps: the baseline of every other method."""

    name = "cam"
    source = "Zhou et al., CVPR 2016; training and inference of IRN, Ahn et al., CVPR 2019"
    presets = IRN_PRESETS

    def losses(self, network: Classifier, batch: Batch, progress: float) -> dict[str, Tensor]:
        return {"classification": classification_loss(network, batch.images, batch.labels)}

    def localize(self, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return class_activation_maps(network, images)
