"""Search spaces of SIPE, and the paper's Table 5.

The default space varies alpha at inference, and `localizer` the features of the seeds, too; neither
needs a new training.
"""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {"sipe.inference_weight": tune.loguniform(0.2, 2.0)},
    "localizer": {
        "sipe.inference_weight": (0.5, 0.7, 1.0),
        "sipe.seed_features": ("hierarchical", "c4"),
    },
    "training": {
        "sipe.weight": tune.loguniform(0.1, 10.0),
        "sipe.background_weight": tune.loguniform(0.2, 2.0),
    },
    "prototypes": {
        "sipe.features": (None, "c4"),
        "sipe.plain_background": (None, True),
    },
}

SEARCHED: Mapping[str, object] = {"sipe.searched": True}
SEMANTIC: Mapping[str, object] = {"sipe.features": "c4"}
JOINED: Mapping[str, object] = {"sipe.features": None}
"""Settings of the rows of Table 5."""

FIGURES: Mapping[str, Mapping[str, object]] = {
    "table-5": {
        "title": "SIPE, Table 5, estimated background",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "features and background": [
                ("semantic", {"sipe.features": "c4", "sipe.plain_background": True}, 54.6),
                ("semantic, BPM", {"sipe.features": "c4", "sipe.plain_background": None}, 54.3),
                ("hierarchical", {"sipe.features": None, "sipe.plain_background": True}, 51.2),
                ("hierarchical, BPM", {"sipe.features": None, "sipe.plain_background": None}, 58.6),
            ],
        },
    },
    "table-5-threshold": {
        "title": "SIPE, Table 5, background threshold",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "features and background": [
                ("semantic", {**SEARCHED, **SEMANTIC, "sipe.plain_background": True}, 56.0),
                ("semantic, BPM", {**SEARCHED, **SEMANTIC, "sipe.plain_background": None}, 55.9),
                ("hierarchical", {**SEARCHED, **JOINED, "sipe.plain_background": True}, 53.9),
                ("hierarchical, BPM", {**SEARCHED, **JOINED, "sipe.plain_background": None}, 57.6),
            ],
        },
    },
}
"""Figures and tables of the paper, by name: the points of each panel.

A point has a label, the changed fields and the mIoU that the paper prints, in percent; None: the
paper prints no number.
"""
