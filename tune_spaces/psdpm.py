"""Search spaces of PSDPM, including choices that the paper leaves open, and its Tables 4 and 5."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "psdpm.source": ("both", "segmenter"),
        "psdpm.depth": (0, 1, 2, 3),
    },
    "inputs": {
        "psdpm.depth": (3,),
        "psdpm.position": ("4d", "2d", "none"),
        "psdpm.colour": (True, False),
    },
    "forms": {
        "psdpm.depth": (3,),
        "psdpm.similarity": ("cosine", "area"),
        "psdpm.residual": ("mean", "sum"),
        "psdpm.applications": (1, 2),
        "psdpm.join": ("last", "weighted"),
        "psdpm.grid": ("c4", "own"),
        "psdpm.position": ("4d", "2d"),
        "psdpm.scaled": (True, False),
    },
    "baselines": {
        "combination": ("psdpm@cam", "psdpm@lpcam", "psdpm@sipe", "psdpm@cpal"),
    },
    "scales": {
        "views.scales": ((1.0,), (1.0, 0.5, 1.5), (1.0, 0.5, 1.5, 2.0)),
    },
    "gaps": {
        "psdpm.weight": tune.loguniform(0.1, 10.0),
        "psdpm.detach": ("inside", "result", "nowhere"),
        "psdpm.average": ("present", "all"),
    },
}

BOTH = {"psdpm.source": "both"}
"""The method as published, from which Table 5 removes components."""

FIGURES: Mapping[str, Mapping[str, object]] = {
    "table-4": {
        "title": "PSDPM, Table 4",
        "published": "seed mIoU %, VOC train (1,464 images), on CLIMS",
        "panels": {
            "foreground source": [
                ("D", {"psdpm.source": "segmenter", "psdpm.depth": 0}, 59.7),
                ("D + A", {"psdpm.source": "both", "psdpm.depth": 0}, 61.3),
                ("D, FPEM", {"psdpm.source": "segmenter", "psdpm.depth": 3}, 67.9),
                ("D + A, FPEM", {"psdpm.source": "both", "psdpm.depth": 3}, 68.5),
            ],
        },
    },
    "table-5": {
        "title": "PSDPM, Table 5",
        "published": "seed mIoU %, VOC train (1,464 images), on CLIMS",
        "panels": {
            "steps of FPEM": [
                (0, {**BOTH, "psdpm.depth": 0}, 61.3),
                (1, {**BOTH, "psdpm.depth": 1}, 64.8),
                (2, {**BOTH, "psdpm.depth": 2}, 68.0),
                (3, {**BOTH, "psdpm.depth": 3}, 68.5),
            ],
            "inputs of FPEM": [
                ("all but position", {**BOTH, "psdpm.depth": 3, "psdpm.position": "none"}, 68.1),
                ("all but features", {**BOTH, "psdpm.depth": 3, "psdpm.features": False}, 64.2),
                ("all but colour", {**BOTH, "psdpm.depth": 3, "psdpm.colour": False}, 68.2),
                ("all", {**BOTH, "psdpm.depth": 3}, 68.5),
            ],
        },
    },
}
"""Figures and tables of the paper, by name: the points of each panel.

A point has a label, the changed fields and the mIoU that the paper prints, in percent; None: the
paper prints no number.
"""
