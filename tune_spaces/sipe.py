"""What a sweep of SIPE varies: alpha at inference, which trains nothing anew, or the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {"sipe.inference_weight": (0.3, 0.5, 0.7, 1.0, 1.4)},
    "training": {
        "sipe.weight": (0.5, 1.0, 2.0),
        "sipe.background_weight": (0.3, 0.5, 0.7),
    },
}
