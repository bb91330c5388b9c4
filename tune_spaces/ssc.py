"""What a sweep of SSC varies: the weights of its losses and the limit of suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "ssc.perceptual": (0.5, 1.0, 2.0),
        "ssc.modulation": (0.5, 1.0, 2.0),
        "ssc.delta": (0.4, 0.55, 0.7),
    },
}
