"""Search spaces of CAM: learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SPACES: Mapping[str, Mapping[str, Sequence[object]]] = {
    "default": {
        "training.lr": (0.01, 0.02, 0.05, 0.1),
        "training.weight_decay": (1e-5, 1e-4, 1e-3),
    },
}
