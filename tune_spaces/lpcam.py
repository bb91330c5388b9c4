"""What a sweep of LPCAM varies: the four parameters of the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "lpcam.tau": (0.1, 0.2, 0.3),
        "lpcam.K": (12, 20),
        "lpcam.mu_f": (0.7, 0.9),
        "lpcam.mu_b": (0.5, 0.9),
    },
    "figure-5": {
        "lpcam.tau": (0.05, 0.1, 0.2, 0.3, 0.4),
        "lpcam.K": (4, 8, 12, 16, 20),
        "lpcam.mu_f": (0.6, 0.7, 0.8, 0.9, 0.95),
        "lpcam.mu_b": (0.5, 0.6, 0.7, 0.8, 0.9),
    },
}
