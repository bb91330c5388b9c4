"""What a sweep of CPAL varies: the paper's own sensitivity study (section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "cpal.tau": (0.05, 0.1, 0.15, 0.2),
        "cpal.top_k": (10, 20, 50),
        "cpal.slots": (100, 500, 800, 1000),
    },
}
