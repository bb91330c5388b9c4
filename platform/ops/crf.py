"""DenseCRF, which makes labels follow the colours of an image.

Source: Krähenbühl and Koltun, NeurIPS 2011. The library pydensecrf computes it.
`CRFS` names the parameter sets of public WSSS code.
Shapes: L labels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CRF:
    """The parameters of a DenseCRF.

    Attributes:
        smooth_xy: standard deviation of the smoothing kernel, pixels.
        smooth: weight of the smoothing kernel.
        colour_xy: standard deviation of the colour kernel in space, pixels.
        colour_rgb: standard deviation of the colour kernel in colour, 0..255.
        colour: weight of the colour kernel.
        iterations: number of mean field steps.
        certainty: probability given to the label of a hard seed; 0 starts from soft scores.
    """

    smooth_xy: float
    smooth: float
    colour_xy: float
    colour_rgb: float
    colour: float
    iterations: int = 10
    certainty: float = 0.0


CRFName = Literal["irn", "psa", "deeplab", "mctformer", "seam"]
"""The names of the parameter sets."""
CRFS: Mapping[str, CRF] = {
    "irn": CRF(smooth_xy=3, smooth=3, colour_xy=50, colour_rgb=5, colour=10, certainty=0.7),
    "psa": CRF(smooth_xy=3, smooth=3, colour_xy=80, colour_rgb=13, colour=10),
    "deeplab": CRF(smooth_xy=1, smooth=3, colour_xy=67, colour_rgb=3, colour=4),
    "mctformer": CRF(smooth_xy=4, smooth=3, colour_xy=83, colour_rgb=5, colour=3),
    "seam": CRF(smooth_xy=3, smooth=3, colour_xy=32, colour_rgb=13, colour=10, iterations=1),
}
"""Parameter sets by name.

`irn`: hard seeds of the IRN line (also SIPE, AMN, CLIMS, SSC). `psa`: soft seeds of the PSA line
(MCTformer, DRS). `deeplab`: predictions of DeepLabV2 and seeds of CLIP-ES. `mctformer`:
predictions of MCTformer's segmenter. `seam`: seeds of SEAM.
"""


PIXEL_BYTES, LABEL_BYTES = 520, 85


def crf_bytes(pixels: int, labels: int) -> int:
    """Return an upper bound of the memory in bytes that a `Refiner` takes with its scores.

    It holds where all pixels differ in colour; photographs take less. The numbers of bytes a pixel
    and label are measured, see `bench.py huge`.
    """
    return pixels * (PIXEL_BYTES + LABEL_BYTES * labels)


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
