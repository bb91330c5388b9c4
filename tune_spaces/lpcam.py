"""What a sweep of LPCAM varies: the four parameters of the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "default": {
        "settings.tau": (0.1, 0.2, 0.3),
        "settings.K": (12, 20),
        "settings.mu_f": (0.7, 0.9),
        "settings.mu_b": (0.5, 0.9),
    },
    "figure-5": {
        "settings.tau": (0.05, 0.1, 0.2, 0.3, 0.4),
        "settings.K": (4, 8, 12, 16, 20),
        "settings.mu_f": (0.6, 0.7, 0.8, 0.9, 0.95),
        "settings.mu_b": (0.5, 0.6, 0.7, 0.8, 0.9),
    },
}
