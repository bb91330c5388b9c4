"""What a sweep of SIPE varies: the consistency's weight, which trains anew, and alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "sipe.weight": (0.5, 1.0, 2.0),
        "sipe.background_weight": (0.3, 0.5, 0.7),
    },
}
