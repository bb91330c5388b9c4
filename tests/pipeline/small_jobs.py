"""Fields that make jobs on drawn scenes small."""

from __future__ import annotations

from typing import Any

TRAIN, VAL = 32, 8
"""Images of the drawn scenes in their two splits."""
SMALL: dict[str, Any] = {
    "training.epochs": 2,
    "training.batch_size": 8,
    "views.scales": (1.0, 0.5),
}
SMALL_WORDS = (*(f"--set={name}={value}" for name, value in SMALL.items()), "--quiet")
"""The fields `SMALL` as words of a command."""
VAL_ALONE = "--set=scoring.splits=('val',)"
"""The word of a command that scores the validation images alone, which are few."""
FEW = {"refine.training.epochs": 1, "segment.training.epochs": 1}
CHAIN = {"refine.kind": "irn", "segment.network": "deeplabv2", **FEW}
BEGAN = "2026-01-01T00:00:00+0000"
"""Start of the runs whose records the tests make."""
