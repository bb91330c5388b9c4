"""DenseCRF of one image on a CPU, which makes labels follow the colours of the image.

The library pydensecrf computes it. Shapes: L labels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .parameters import CRF

Probabilities = NDArray[np.float32]


class _MeanField(Protocol):
    """The part of pydensecrf's `DenseCRF2D` that a refiner calls."""

    def setUnaryEnergy(self, energy: NDArray[np.float32]) -> None: ...  # noqa: N802

    def inference(self, steps: int) -> Sequence[Sequence[float]]: ...


class Refiner:
    """DenseCRF on one image.

    The kernels are built once for each number of labels, which takes as long as five steps of mean
    field.

    Args:
        image: RGB `[H,W,3]`.
        crf: parameters of the DenseCRF.
    """

    def __init__(self, image: NDArray[np.uint8], crf: CRF) -> None:
        self.image, self.crf = image, crf
        self._fields: dict[int, _MeanField] = {}

    def refine(self, probabilities: Probabilities) -> Probabilities:
        """Return the label probabilities after mean field.

        Args:
            probabilities: `[L,H,W]`; those of a pixel may be scaled by any factor.

        Returns:
            `[L,H,W]`; the input itself where L is 1.

        Raises:
            ValueError: image and probabilities differ in size.
        """
        labels, height, width = probabilities.shape
        if self.image.shape != (height, width, 3):
            raise ValueError(
                f"the image has the shape {self.image.shape} and the probabilities "
                f"{probabilities.shape}; heights and widths must be equal"
            )
        if labels < 2:
            return probabilities
        if labels not in self._fields:
            self._fields[labels] = self._field(labels)
        field = self._fields[labels]
        energy = -np.log(np.clip(probabilities, 1e-5, 1.0)).reshape(labels, -1)
        field.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
        refined = np.array(field.inference(self.crf.iterations), dtype=np.float32)
        return refined.reshape(labels, height, width)

    def _field(self, labels: int) -> _MeanField:
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
        mean_field: _MeanField = field
        return mean_field


def label_probabilities(seed: NDArray[np.integer], labels: int, certainty: float) -> Probabilities:
    """Turn hard labels into probabilities.

    Args:
        seed: `[H,W]`, 0..L-1.
        labels: L.
        certainty: probability of the label of a pixel; the other labels share the rest equally.

    Returns:
        `[L,H,W]`.
    """
    if labels == 1:
        return np.ones((1, *seed.shape), np.float32)
    others = (1 - certainty) / (labels - 1)
    chosen = seed[None] == np.arange(labels)[:, None, None]
    return np.where(chosen, certainty, others).astype(np.float32)


def best_labels(scores: NDArray[np.float32], refiner: Refiner | None) -> NDArray[np.uint8]:
    """Return the best label of each pixel, refined where a refiner is given.

    With a certainty, the refiner starts from the label with the best score. Without one it starts
    from the scores themselves, as public code hands them to `unary_from_softmax`; the sum of the
    scores of a pixel makes no difference.

    Args:
        scores: `[L,H,W]`, 0..1: the background, then the class maps.
        refiner: DenseCRF on the image of the scores, or None to take the best score.

    Returns:
        `[H,W]`, 0..L-1.
    """
    if refiner is None:
        out: NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
        return out
    certainty = refiner.crf.certainty
    start = label_probabilities(scores.argmax(0), len(scores), certainty) if certainty else scores
    best: NDArray[np.uint8] = refiner.refine(start).argmax(0).astype(np.uint8)
    return best
