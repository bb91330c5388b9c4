"""Search spaces of all methods: combinations of methods, and refinement into pseudo labels."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

CRFS = ("irn", "psa", "mctformer", "seam")

SPACES: Mapping[str, Mapping[str, object]] = {
    "combinations": {
        "combination": ("cam", "lpcam", "sipe", "sipe:lpcam", "cpal", "cpal:lpcam"),
        "refine.kind": ("", "irn"),
    },
    "refinement": {
        "refine.kind": ("", "crf", "irn", "par", "segments"),
    },
    "refiners": {
        "refiner": tune.choice(
            [
                {"refine.kind": ""},
                {"refine.kind": "crf", "refine.crf": tune.choice(CRFS)},
                {
                    "refine.kind": "irn",
                    "refine.beta": tune.uniform(5.0, 15.0),
                    "refine.walk_power": tune.loguniform(1.0, 4.0),
                },
                {
                    "refine.kind": "par",
                    "refine.par.affinity": tune.choice(["par", "pamr"]),
                    "refine.par.steps": tune.randint(5, 21),
                },
            ]
        ),
    },
    "crf": {
        "refine.kind": ("crf",),
        "refine.crf": CRFS,
        "refine.threshold": (None, 0.1, 0.15, 0.2, 0.25, 0.3),
    },
    "irn": {
        "refine.kind": ("irn",),
        "refine.foreground": (None, 0.3, 0.45),
        "refine.background": (None, 0.05, 0.1),
        "refine.beta": tune.uniform(5.0, 15.0),
        "refine.walk_power": tune.loguniform(1.0, 4.0),
    },
    "par": {
        "refine.kind": ("par",),
        "refine.par.affinity": ("par", "pamr"),
        "refine.par.steps": (5, 10, 20),
        "refine.par.scale": (0.5, 1.0),
    },
    "segments": {
        "refine.kind": ("segments",),
        "refine.segments.source": ("unmerged", "merged", "slic"),
        "refine.segments.inside": tune.uniform(0.4, 0.6),
        "refine.segments.covered": (0.85, 2.0),
        "refine.segments.assign": ("ascending", "largest"),
    },
}
