"""Search spaces of MCTformer.

The default space varies the blocks whose attention is read and what it is read for, so no trial
trains a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SPACES: Mapping[str, Mapping[str, Sequence[object]]] = {
    "default": {
        "mctformer.attention_blocks": (1, 3, 6),
        "mctformer.affinity_blocks": (0, 3, 6, None),
    },
    "fusion": {
        "mctformer.fusion": ("fused", "patchcam", "attention"),
        "mctformer.affinity_blocks": (0, None),
    },
    "views": {
        "views.scales": ((1.0,), (1.0, 0.75, 1.25), (1.0, 0.5, 1.5)),
    },
    "training": {
        "training.lr": (3e-5, 6.25e-5, 1.2e-4),
        "mctformer.drop_path": (0.0, 0.1, 0.2),
    },
}
