"""DenseCRF: labels that follow the colours of the image (Krähenbühl and Koltun, NeurIPS 2011).

The computation is pydensecrf's. Parameter sets are those that public WSSS code uses, by name.
Shapes: L labels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CRF:
    """The parameters of a DenseCRF.

    Attributes:
        smooth_xy: deviation of the smoothing kernel, pixels.
        smooth: its weight.
        colour_xy: deviation of the colour kernel in space, pixels.
        colour_rgb: deviation of the colour kernel in colour, 0..255.
        colour: its weight.
        iterations: of mean field.
        certainty: probability given to the label of a hard seed; 0: from soft scores.
    """

    smooth_xy: float
    smooth: float
    colour_xy: float
    colour_rgb: float
    colour: float
    iterations: int = 10
    certainty: float = 0.0


CRFS: Mapping[str, CRF] = {
    "irn": CRF(smooth_xy=3, smooth=3, colour_xy=50, colour_rgb=5, colour=10, certainty=0.7),
    "psa": CRF(smooth_xy=3, smooth=3, colour_xy=80, colour_rgb=13, colour=10),
    "deeplab": CRF(smooth_xy=1, smooth=3, colour_xy=67, colour_rgb=3, colour=4),
    "mctformer": CRF(smooth_xy=4, smooth=3, colour_xy=83, colour_rgb=5, colour=3),
    "seam": CRF(smooth_xy=3, smooth=3, colour_xy=32, colour_rgb=13, colour=10, iterations=1),
}
"""irn: hard seeds of the IRN line (also SIPE, AMN, CLIMS, SSC); psa: soft seeds of the PSA line
(MCTformer, DRS); deeplab: DeepLabV2's test and CLIP-ES seeds; mctformer: its segmenter; seam."""


class Refiner:
    """DenseCRF on one image. Its kernels are built once for each number of labels, which takes as
    long as five steps of mean field.

    Args:
        image: RGB `[H,W,3]`.
        crf: the parameters.
    """

    def __init__(self, image: NDArray[np.uint8], crf: CRF) -> None:
        self.image, self.crf = image, crf
        self._fields: dict[int, Any] = {}

    def refine(self, probabilities: Probabilities) -> Probabilities:
        """Label probabilities after mean field.

        Args:
            probabilities: `[L,H,W]`, each pixel's up to a factor; one label comes back as it is.

        Returns:
            `[L,H,W]`.

        Raises:
            ValueError: image and probabilities differ in size.
        """
        labels, height, width = probabilities.shape
        if self.image.shape != (height, width, 3):
            raise ValueError(
                f"the image is {self.image.shape}, probabilities are {probabilities.shape}"
            )
        if labels < 2:
            return probabilities
        if labels not in self._fields:
            self._fields[labels] = self._field(labels)
        field = self._fields[labels]
        energy = -np.log(np.clip(probabilities, 1e-5, 1.0)).reshape(labels, -1)
        field.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
        found = np.array(field.inference(self.crf.iterations), dtype=np.float32)
        return found.reshape(labels, height, width)

    def _field(self, labels: int) -> Any:
        from pydensecrf import densecrf

        crf, (height, width) = self.crf, self.image.shape[:2]
        field = densecrf.DenseCRF2D(width, height, labels)
        field.addPairwiseGaussian(sxy=crf.smooth_xy, compat=crf.smooth)
        field.addPairwiseBilateral(
            sxy=crf.colour_xy,
            srgb=crf.colour_rgb,
            rgbim=np.ascontiguousarray(self.image),
            compat=crf.colour,
        )
        return field


def certain(seed: NDArray[np.integer], labels: int, certainty: float) -> Probabilities:
    """Hard labels `[H,W]` of 0..L-1 as probabilities `[L,H,W]`: `certainty` for the label, the
    rest shared by the others."""
    if labels == 1:
        return np.ones((1, *seed.shape), np.float32)
    others = (1 - certainty) / (labels - 1)
    chosen = seed[None] == np.arange(labels)[:, None, None]
    return np.where(chosen, certainty, others).astype(np.float32)


def best_labels(scores: NDArray[np.float32], refiner: Refiner | None) -> NDArray[np.uint8]:
    """The refined labels of scores.

    Args:
        scores: `[L,H,W]`: of the background, then of the class maps, 0..1.
        refiner: of their image, or none: the best score. With a certainty the best label enters,
            without one the scores do, as probabilities (as public code hands them to
            `unary_from_softmax`; their sum makes no difference).

    Returns:
        `[H,W]`, 0..L-1.
    """
    if refiner is None:
        out: NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
        return out
    sure = refiner.crf.certainty
    found = certain(scores.argmax(0), len(scores), sure) if sure else scores
    best: NDArray[np.uint8] = refiner.refine(found).argmax(0).astype(np.uint8)
    return best
