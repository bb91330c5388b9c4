"""Search spaces of SSC, and the paper's Figure 7 and Table VII."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "ssc.perceptual": tune.loguniform(0.1, 5.0),
        "ssc.modulation": tune.loguniform(0.1, 5.0),
        "ssc.delta": tune.uniform(0.4, 1.0),  # the paper's range ends at 0.7; 1 suppresses nothing
    },
    "modulation": {
        "ssc.modulation": tune.loguniform(0.1, 5.0),
        "ssc.warm_up": tune.uniform(0.0, 0.8),
        "ssc.kernel": tune.qrandint(4, 12, 2),
        "ssc.threshold": tune.uniform(0.2, 0.4),
    },
}

CDR: Mapping[str, object] = {"ssc.delta": 0.55, "ssc.perceptual": 1.0}
"""Suppression and reconstruction, which the rows of Tables VII and VIII change."""

FIGURES: Mapping[str, Mapping[str, object]] = {
    "7": {
        "title": "SSC, Figure 7",
        "published": "seed mIoU %, VOC train (1,464 images); the text names the best values",
        "panels": {
            "weight of the reconstruction": [
                (0.1, {"ssc.perceptual": 0.1}, None),
                (0.5, {"ssc.perceptual": 0.5}, None),
                (1, {"ssc.perceptual": 1.0}, 58.3),
                (2, {"ssc.perceptual": 2.0}, None),
                (5, {"ssc.perceptual": 5.0}, None),
            ],
            "weight of the self-modulation": [
                (0.1, {"ssc.modulation": 0.1}, None),
                (0.5, {"ssc.modulation": 0.5}, None),
                (1, {"ssc.modulation": 1.0}, 58.3),
                (2, {"ssc.modulation": 2.0}, None),
                (5, {"ssc.modulation": 5.0}, None),
            ],
            "kernel of the erosion": [
                (4, {"ssc.kernel": 4}, None),
                (6, {"ssc.kernel": 6}, None),
                (8, {"ssc.kernel": 8}, 58.3),
                (10, {"ssc.kernel": 10}, None),
                (12, {"ssc.kernel": 12}, None),
            ],
        },
    },
    "table-vii": {
        "title": "SSC, Table VII",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "components": [
                ("none", {"ssc.delta": 1.0, "ssc.perceptual": 0.0, "ssc.modulation": 0.0}, 48.3),
                ("DRS", {"ssc.delta": 0.55, "ssc.perceptual": 0.0, "ssc.modulation": 0.0}, 50.2),
                ("CDR early", {**CDR, "ssc.modulation": 0.0, "ssc.reconstructed": "c3"}, 52.3),
                ("CDR", {**CDR, "ssc.modulation": 0.0}, 54.5),
                ("ASM without RAS", {**CDR, "ssc.modulation": 1.0, "ssc.threshold": 1.0}, 57.2),
                ("ASM", {**CDR, "ssc.modulation": 1.0}, 58.3),
            ],
        },
    },
    "table-viii": {
        "title": "SSC, Table VIII",
        "published": "seed mIoU %, VOC train (1,464 images)",
        "panels": {
            "loss of the reconstruction": [
                ("none", {**CDR, "ssc.perceptual": 0.0, "ssc.modulation": 0.0}, 50.2),
                ("L1", {**CDR, "ssc.modulation": 0.0, "ssc.comparison": "l1"}, 51.3),
                ("L2", {**CDR, "ssc.modulation": 0.0, "ssc.comparison": "l2"}, 50.9),
                ("perceptual", {**CDR, "ssc.modulation": 0.0}, 54.5),
            ],
        },
    },
}
"""Figures and tables of the paper, by name: the points of each panel.

A point has a label, the changed fields and the mIoU that the paper prints, in percent; None: the
paper prints no number. Values that the paper's text does not name are chosen here.
"""
