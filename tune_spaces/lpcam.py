"""Search spaces of LPCAM, and the paper's Figure 5: four parameters of the prototypes."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "lpcam.tau": tune.uniform(0.05, 0.4),
        "lpcam.K": tune.randint(4, 21),
        "lpcam.mu_f": tune.uniform(0.6, 0.95),
        "lpcam.mu_b": tune.uniform(0.5, 0.95),
    },
    "figure-5": {
        "lpcam.tau": (0.05, 0.1, 0.2, 0.3, 0.4),
        "lpcam.K": (4, 8, 12, 16, 20),
        "lpcam.mu_f": (0.6, 0.7, 0.8, 0.9, 0.95),
        "lpcam.mu_b": (0.5, 0.6, 0.7, 0.8, 0.9),
    },
}

FIGURES: Mapping[str, Mapping[str, object]] = {
    "5": {
        "title": "LPCAM, Figure 5",
        "published": "seed mIoU %, VOC train (1,464 images), AMN with LPCAM",
        "panels": {
            "tau": [
                (0.05, {"lpcam.tau": 0.05}, None),
                (0.1, {"lpcam.tau": 0.1}, 65.3),
                (0.2, {"lpcam.tau": 0.2}, None),
                (0.3, {"lpcam.tau": 0.3}, None),
                (0.4, {"lpcam.tau": 0.4}, None),
            ],
            "mu_f": [
                (0.6, {"lpcam.mu_f": 0.6}, None),
                (0.7, {"lpcam.mu_f": 0.7}, None),
                (0.8, {"lpcam.mu_f": 0.8}, None),
                (0.9, {"lpcam.mu_f": 0.9}, 65.3),
                (0.95, {"lpcam.mu_f": 0.95}, None),
            ],
            "mu_b": [
                (0.5, {"lpcam.mu_b": 0.5}, None),
                (0.6, {"lpcam.mu_b": 0.6}, None),
                (0.7, {"lpcam.mu_b": 0.7}, None),
                (0.8, {"lpcam.mu_b": 0.8}, None),
                (0.9, {"lpcam.mu_b": 0.9}, 65.3),
            ],
            "K": [
                (4, {"lpcam.K": 4}, None),
                (8, {"lpcam.K": 8}, None),
                (12, {"lpcam.K": 12}, 65.3),
                (16, {"lpcam.K": 16}, None),
                (20, {"lpcam.K": 20}, 64.6),
            ],
        },
    },
}
"""Figures and tables of the paper, by name: the points of each panel.

A point has a label, the changed fields and the mIoU that the paper prints, in percent; None: the
paper prints no number. Values that the paper's text does not name are chosen here.
"""
