"""Search spaces of CPAL, and the figures of its sensitivity study (section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "cpal.tau": tune.uniform(0.05, 0.8),  # the paper's range ends at 0.2
        "cpal.top_k": tune.lograndint(10, 51),
        "cpal.slots": tune.qrandint(100, 1000, 100),
        "cpal.temperature": tune.loguniform(0.1, 10.0),  # around 1, the paper's value
    },
    "tau": {"cpal.tau": tune.uniform(0.05, 0.8)},
    "share": {"cpal.share": (None, 0.05, 0.1, 0.15, 0.2, 0.3)},
    "training": {
        "cpal.weight": tune.loguniform(0.1, 10.0),
        "cpal.slots": tune.qrandint(100, 1000, 100),
    },
    "positiveness": {
        "cpal.measure": (None, "cosine", "l1", "l2"),
        "cpal.prototypes": (20, 50, 100),
    },
}

WHOLE = {"cpal.weighting": "weighted"}
"""The method with positiveness, of which Fig. 4 varies two options."""

FIGURES: Mapping[str, Mapping[str, object]] = {
    "4": {
        "title": "CPAL, Figure 4",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "tau": [
                (0.05, {**WHOLE, "cpal.tau": 0.05}, 62.0),
                (0.1, {**WHOLE, "cpal.tau": 0.1}, 62.5),
                (0.15, {**WHOLE, "cpal.tau": 0.15}, 61.7),
                (0.2, {**WHOLE, "cpal.tau": 0.2}, 61.4),
            ],
            "length of the support set": [
                (100, {**WHOLE, "cpal.slots": 100}, 61.5),
                (500, {**WHOLE, "cpal.slots": 500}, 62.0),
                (800, {**WHOLE, "cpal.slots": 800}, 62.3),
                (1000, {**WHOLE, "cpal.slots": 1000}, 62.5),
            ],
        },
    },
    "table-2": {
        "title": "CPAL, Table 2",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "neighbours and positiveness": [
                ("neither", {"cpal.weighting": "printed", "cpal.top_k": 50}, 59.2),
                ("20 neighbours", {"cpal.weighting": "printed", "cpal.top_k": 20}, 60.3),
                ("both", {"cpal.weighting": "weighted", "cpal.top_k": 20}, 62.5),
            ],
            "K": [
                (10, {"cpal.weighting": "weighted", "cpal.top_k": 10}, 61.3),
                (20, {"cpal.weighting": "weighted", "cpal.top_k": 20}, 62.5),
                (50, {"cpal.weighting": "weighted", "cpal.top_k": 50}, 60.1),
            ],
        },
    },
    "table-3": {
        "title": "CPAL, Table 3",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "measure of the positiveness": [
                ("L1", {"cpal.weighting": "weighted", "cpal.measure": "l1"}, 59.6),
                ("L2", {"cpal.weighting": "weighted", "cpal.measure": "l2"}, 58.7),
                ("cosine", {"cpal.weighting": "weighted", "cpal.measure": "cosine"}, 61.9),
                ("dot", {"cpal.weighting": "weighted", "cpal.measure": None}, 62.5),
            ],
        },
    },
}
"""Figures and tables of the paper, by name: the points of each panel.

A point has a label, the changed fields and the mIoU that the paper prints, in percent; None: the
paper prints no number.
"""
