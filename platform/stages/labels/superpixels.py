"""Superpixels of a split, computed once as Ray tasks and kept as planes of ids (0 to 254)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.formats import label_maps, shards
from ...data.images import decode_image
from ...data.transforms import resized
from ...ops.superpixels import connected, felzenszwalb, merged, numbered, shrunk, slic
from ...ray_runtime import cluster

KINDS = ("merged", "unmerged", "slic")
"""Felzenszwalb's regions joined to at most 64, joined to at most 255, or SLIC."""
PUBLISHED_SIDE = 500
"""Long side, pixels, of VOC's images, which the published parameters are for."""


def regions_of(image: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """The superpixels of uint8 RGB `[H,W,3]`: ids `[H,W]` from 0.

    What Felzenszwalb's parameters mean depends on an image's size: of a picture of 96 pixels 75
    are a whole limb. So a smaller image is looked at as large as VOC's.
    """
    if kind == "slic":
        return slic(image).astype(np.uint8)
    most = {"merged": 64, "unmerged": 255}[kind]
    height, width = image.shape[:2]
    factor = max(1.0, PUBLISHED_SIDE / max(height, width))
    large = resized(image, round(height * factor), round(width * factor))
    found = merged(large, felzenszwalb(large), most)
    if large is not image:
        found = merged(image, numbered(connected(shrunk(found, height, width))), most)
    return found.astype(np.uint8)


def slice_regions(piece: shards.Slice, kind: str, folder: str) -> tuple[int, int]:
    """A task: writes the superpixels of one slice; returns images and superpixels."""
    rows = [
        (row["id"], regions_of(decode_image(row["image"], row["id"]), kind))
        for row in shards.read(piece, ("id", "image"))
    ]
    count = label_maps.write(label_maps.file_of(folder, piece), rows)
    return count, sum(int(ids.max()) + 1 for _, ids in rows)


def compute(
    folder: Path,
    pieces: Sequence[shards.Slice],
    kind: str,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: superpixels of all slices, in `folder`."""
    found = list(cluster.each(slice_regions, list(pieces), (kind, str(folder)), progress))
    images, regions = (sum(column) for column in zip(*found, strict=True))
    return {"images": images, "superpixels": regions}
