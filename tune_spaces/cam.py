"""Search spaces of CAM: learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "training.lr": tune.loguniform(0.01, 0.2),
        "training.weight_decay": tune.loguniform(1e-5, 1e-3),
    },
}
