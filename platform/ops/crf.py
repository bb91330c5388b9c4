"""DenseCRF: labels that follow the colours of the image (Krähenbühl and Koltun, NeurIPS 2011).

The computation is pydensecrf's. Parameter sets are those that public WSSS code uses, by name.
Shapes: L labels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def refine(image: NDArray[np.uint8], probabilities: Probabilities, crf: CRF) -> Probabilities:
    """Label probabilities after mean field.

    Args:
        image: RGB `[H,W,3]`.
        probabilities: `[L,H,W]`, each pixel's up to a factor; one label comes back as it is.
        crf: the parameters.

    Returns:
        `[L,H,W]`.

    Raises:
        ValueError: image and probabilities differ in size.
    """
    labels, height, width = probabilities.shape
    if image.shape != (height, width, 3):
        raise ValueError(f"the image is {image.shape}, probabilities are {probabilities.shape}")
    if labels < 2:
        return probabilities
    from pydensecrf import densecrf

    field = densecrf.DenseCRF2D(width, height, labels)
    energy = -np.log(np.clip(probabilities, 1e-5, 1.0)).reshape(labels, -1)
    field.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
    field.addPairwiseGaussian(sxy=crf.smooth_xy, compat=crf.smooth)
    field.addPairwiseBilateral(
        sxy=crf.colour_xy,
        srgb=crf.colour_rgb,
        rgbim=np.ascontiguousarray(image),
        compat=crf.colour,
    )
    found = np.asarray(field.inference(crf.iterations), dtype=np.float32)
    return found.reshape(labels, height, width)


def certain(seed: NDArray[np.integer], labels: int, certainty: float) -> Probabilities:
    """Hard labels `[H,W]` of 0..L-1 as probabilities `[L,H,W]`: `certainty` for the label, the
    rest shared by the others."""
    if labels == 1:
        return np.ones((1, *seed.shape), np.float32)
    others = (1 - certainty) / (labels - 1)
    chosen = seed[None] == np.arange(labels)[:, None, None]
    return np.where(chosen, certainty, others).astype(np.float32)


def best_labels(
    image: NDArray[np.uint8], scores: NDArray[np.float32], crf: CRF | None
) -> NDArray[np.uint8]:
    """The refined labels of scores.

    Args:
        image: RGB `[H,W,3]`.
        scores: `[L,H,W]`: of the background, then of the class maps, 0..1.
        crf: the parameters, or none: the best score. With a certainty the best label enters,
            without one the scores do, as probabilities (as public code hands them to
            `unary_from_softmax`; their sum makes no difference).

    Returns:
        `[H,W]`, 0..L-1.
    """
    if crf is None:
        out: NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
        return out
    found = certain(scores.argmax(0), len(scores), crf.certainty) if crf.certainty else scores
    best: NDArray[np.uint8] = refine(image, found, crf).argmax(0).astype(np.uint8)
    return best
