"""Search spaces of CLIP-ES: boxes and affinity, for which no gradient is computed again; texts."""

from __future__ import annotations

from collections.abc import Mapping

from ray import tune

SPACES: Mapping[str, Mapping[str, object]] = {
    "default": {
        "clip-es.box_threshold": tune.uniform(0.3, 0.7),
        "clip-es.rounds": tune.randint(1, 11),
        "clip-es.box_edge": ("release", "inclusive"),
    },
    "attention": {
        "clip-es.blocks": (1, 4, 6, 8, 10, 12),
    },
    "texts": {
        "clip-es.synonyms": (True, False),
        "clip-es.templates": (
            ("a clean origami {}.",),
            ("a rendering of a weird {}.",),
            ("a photo of a {}.",),
        ),
    },
}
