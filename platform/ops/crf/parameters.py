"""Parameter sets of DenseCRF in public WSSS code, and the memory that DenseCRF takes.

Source: Krähenbühl and Koltun, NeurIPS 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


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
CRFBackend = Literal["pydensecrf", "torch"]
"""The libraries that compute DenseCRF: on a CPU, or on the device of the tensors."""
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
    """Return an upper bound of the memory in bytes that DenseCRF takes with its scores.

    It holds for a `Refiner`, and for a `BatchRefiner` with two starts of each image and `pixels` in
    the whole batch. It also holds where all pixels differ in colour; photographs take less. The
    numbers of bytes a pixel and label are measured, see `bench.py huge`.
    """
    return pixels * (PIXEL_BYTES + LABEL_BYTES * labels)
