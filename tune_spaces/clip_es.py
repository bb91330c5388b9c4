"""Search spaces of CLIP-ES: boxes and affinity, for which no gradient is computed again; texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SPACES: Mapping[str, Mapping[str, Sequence[object]]] = {
    "default": {
        "clip-es.box_threshold": (0.3, 0.4, 0.5, 0.6, 0.7),
        "clip-es.rounds": (1, 3, 10),
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
