"""Search spaces of all methods: combinations of methods, and refinement into pseudo labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SPACES: Mapping[str, Mapping[str, Sequence[object]]] = {
    "combinations": {
        "combination": ("cam", "lpcam", "sipe", "sipe:lpcam", "cpal", "cpal:lpcam"),
        "refine.kind": ("", "irn"),
    },
    "refinement": {
        "refine.kind": ("", "crf", "irn", "par", "segments"),
    },
    "crf": {
        "refine.kind": ("crf",),
        "refine.crf": ("irn", "psa", "mctformer", "seam"),
        "refine.threshold": (None, 0.1, 0.15, 0.2, 0.25, 0.3),
    },
    "irn": {
        "refine.kind": ("irn",),
        "refine.foreground": (None, 0.3, 0.45),
        "refine.background": (None, 0.05, 0.1),
        "refine.beta": (8.0, 10.0),
        "refine.walk_power": (1.0, 1.3, 2.0, 4.0),
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
        "refine.segments.inside": (0.4, 0.5, 0.6),
        "refine.segments.covered": (0.85, 2.0),
        "refine.segments.assign": ("ascending", "largest"),
    },
}
