"""What a sweep of PSDPM varies: the paper's ablations (Tables 4 and 5) and what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "psdpm.source": ("both", "segmenter"),
        "psdpm.depth": (0, 1, 2, 3),
    },
    "inputs": {
        "psdpm.position": ("4d", "2d", "none"),
        "psdpm.colour": (True, False),
    },
    "gaps": {
        "psdpm.weight": (0.5, 1.0, 2.0),
        "psdpm.detach": ("inside", "result", "nowhere"),
        "psdpm.average": ("present", "all"),
    },
}
