"""Metrics of the stages, which Ray exports on each node in the format of Prometheus.

Ray puts `ray_` before the names, and `_total` behind those of counters. Without Ray nothing is
exported, as in a command that finds all artifacts in the store.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

IMAGES, SECONDS, STAGES, BYTES = "wsss_images", "wsss_seconds", "wsss_stages", "wsss_bytes"
"""Names of the counters."""
QUEUE = "wsss_queue"
"""Name of the gauge."""
DESCRIPTIONS = {
    IMAGES: "Images that a stage has processed; a training counts an image in each epoch.",
    SECONDS: "Seconds that a stage took to compute its artifacts.",
    STAGES: "Artifacts that were computed (cached=false) or found in the store (cached=true).",
    BYTES: "Bytes of the artifacts that were computed.",
    QUEUE: "Images that a running stage has yet to process.",
}
"""What the metrics say, by name. Each has the tag `stage`."""


def add(name: str, value: float, stage: str, **tags: str) -> None:
    """Raise a counter by a value; 0 or less changes nothing.

    Args:
        name: one of IMAGES, SECONDS, STAGES and BYTES.
        value: what is added.
        stage: name of the stage.
        **tags: further tags, which a counter must always get.
    """
    if value > 0 and _is_connected():
        _metric("Counter", name, ("stage", *tags)).inc(value, {"stage": stage, **tags})


def set_queue(images: float, stage: str) -> None:
    """Set the number of images that a stage has yet to process."""
    if _is_connected():
        _metric("Gauge", QUEUE, ("stage",)).set(images, {"stage": stage})


def _is_connected() -> bool:
    """Return whether this process has started or joined Ray, without importing it."""
    ray = sys.modules.get("ray")
    return bool(ray and ray.is_initialized())


@functools.cache
def _metric(kind: str, name: str, tags: tuple[str, ...]) -> Any:
    from ray.util import metrics

    return getattr(metrics, kind)(name, DESCRIPTIONS[name], tags)
