"""Images that inference reduced, so that each keeps to the memory that one image may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SMALLER_VIEWS, COARSER_WALK = "smaller_views", "coarser_walk"
"""Names of the lists of ids in the manifest of a stage: images whose views were made smaller, and
images whose random walk had a coarser grid."""
TOO_LARGE = "too_large"
"""Name of the list of ids, in the manifest, of images whose DenseCRF was left out."""
TEXTS = {
    SMALLER_VIEWS: "smaller views were computed of",
    COARSER_WALK: "the random walk had a coarser grid on",
}
NAMED = 5
"""Largest number of ids in a sentence."""


def reduced_sentences(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each way in which a stage reduced images.

    Args:
        about: facts about the artifact, from its manifest.
    """
    for kind, text in TEXTS.items():
        if ids := about.get(kind):
            count = "1 image" if len(ids) == 1 else f"{len(ids):,} images"
            more = ", ..." if len(ids) > NAMED else ""
            names = ", ".join(ids[:NAMED]) + more
            yield f"{text} {count}, to keep to views.image_gib: {names}"
