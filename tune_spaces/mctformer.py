"""Search spaces of MCTformer.

The default space varies the blocks whose attention is read and what it is read for, so no trial
trains a network.
"""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
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
        "training.lr": tune.loguniform(1e-5, 1e-3),
        "mctformer.drop_path": tune.uniform(0.0, 0.2),
    },
}
