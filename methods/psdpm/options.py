"""Options of PSDPM."""

from __future__ import annotations

from typing import Literal

from ...platform.config.fields import Options, dataclass, option
from ...platform.errors import FieldError


@dataclass(frozen=True, kw_only=True)
class PSDPMConfig(Options):
    """Options of PSDPM; the defaults are the paper's.

    Where the paper is silent, the default follows the released code that is closest to it.
    """

    weight: float = option(1.0, "Weight of the consistency loss (Eq. 6).", low=0, high=1e6)
    source: Literal["both", "segmenter", "prototype"] = option(
        "both",
        "Input of FPEM; both: the mean of the segmenter's probabilities and the prototype map (Eq. "
        "5); segmenter: the probabilities alone (Table 4, row 3), with the same gradients as both "
        "if depth is 0 and detach is inside; prototype: the prototype map alone (code for COCO).",
    )
    depth: int = option(
        3, "Steps of FPEM's cascade, from the deepest stage on; 0: no FPEM.", low=0, high=3
    )
    similarity: Literal["cosine", "softmax", "area"] = option(
        "cosine",
        "Similarity of positions; cosine: rectified cosine over its sum (Eq. 2); area: rectified "
        "cosine over the area (COCO code); softmax: softmax of products (VOC code, on features).",
    )
    position: Literal["4d", "2d", "none"] = option(
        "4d",
        "Encoding of the position in FPEM; 4d: distances to all four sides (Fig. 4); 2d: x and y, "
        "whose unit vector is just an angle (code for COCO); none: no position.",
    )
    features: bool = option(True, "Feed the features of the stage to FPEM (Table 5, w/o F: False).")
    colour: bool = option(True, "Feed the image to FPEM (Table 5, w/o I: False).")
    width: int = option(
        0,
        "Channels of a correlation map; 0: as many as its stage has (code; paper: silent).",
        low=0,
        high=65_536,
    )
    detach: Literal["inside", "result", "nowhere"] = option(
        "inside",
        "Place where Eq. 5 stops the gradient, open in the paper; inside: before FPEM, at "
        "the prototype map; result: after FPEM, which stays as initialised; nowhere (code).",
    )
    average: Literal["present", "all"] = option(
        "present",
        "Classes over whose maps the norm of Eq. 5 is averaged: present ones, or all.",
    )
    residual: Literal["mean", "sum"] = option(
        "mean", "Result of a step: mean of A M and M (Eq. 2), or their sum (COCO code).", added=True
    )
    applications: int = option(
        1,
        "Times that a step applies the similarities A (code for COCO: 2).",
        low=1,
        high=2,
        added=True,
    )
    join: Literal["last", "weighted"] = option(
        "last",
        "Result of FPEM: that of its last step, or (r1 + 2 r2 + 3 r3) / 5 (code for COCO).",
        added=True,
    )
    grid: Literal["c4", "own"] = option(
        "c4",
        "Grid of a step: that of the class maps (Eq. 1), or the stage's own (code for COCO).",
        added=True,
    )
    scaled: bool = option(
        False,
        "Divide the prototype map by its maximum in the loss, but not in FPEM (code for COCO).",
        added=True,
    )
    background: Literal["maps", "loss"] | None = option(
        None,
        "Use of a background plane, one minus the highest class map, with its own prototype; maps: "
        "at inference, in place of a threshold (COCO code); loss: in the loss too (VOC code).",
        added=True,
    )
    score: float = option(
        0.0,
        "Weight w of the prototype map M in the class score (S + w M) / (1 + w) (COCO code: 0.5).",
        low=0,
        high=1e6,
        added=True,
    )
    half_scale: bool = option(False, "Add the losses at half the size (both codes).", added=True)

    def __post_init__(self) -> None:
        if self.depth and self.position == "none" and not (self.features or self.colour):
            raise FieldError(
                "position is 'none', and features and colour are False, so FPEM has no input; "
                "turn one of them on",
                "position",
            )
