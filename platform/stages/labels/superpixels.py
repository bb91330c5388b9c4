"""Superpixels of the images of a split, computed once by Ray tasks and stored as planes of ids.

Ids count from 0 to at most 254.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.formats import label_maps, shards
from ...data.images import decode_image
from ...data.transforms import resized
from ...ops.superpixels import (
    felzenszwalb,
    merge_regions,
    renumber_regions,
    shrink_ids,
    slic,
    split_components,
)
from ...ray_runtime import cluster
from ...storage.artifact_files import ArtifactFolder

KINDS = ("merged", "unmerged", "slic")
"""Felzenszwalb's regions joined to at most 64, the same joined to at most 255, and SLIC."""
PUBLISHED_SIDE = 500
"""Long side in pixels of VOC's images, for which the published parameters were chosen."""


def regions_of(image: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """Return the superpixels of an image as ids `[H,W]`, counted from 0.

    The effect of Felzenszwalb's parameters depends on the image's size: in an image of 96 pixels, a
    region of 75 pixels is a whole limb. So a smaller image is enlarged to the size of VOC's images
    first.

    Args:
        image: uint8 RGB `[H,W,3]`.
        kind: one of `KINDS`.
    """
    if kind == "slic":
        return slic(image).astype(np.uint8)
    limit = {"merged": 64, "unmerged": 255}[kind]
    height, width = image.shape[:2]
    factor = max(1.0, PUBLISHED_SIDE / max(height, width))
    large = resized(image, round(height * factor), round(width * factor))
    regions = merge_regions(large, felzenszwalb(large), limit)
    if large is not image:
        regions = merge_regions(
            image, renumber_regions(split_components(shrink_ids(regions, height, width))), limit
        )
    return regions.astype(np.uint8)


def slice_regions(piece: shards.Slice, kind: str, folder: ArtifactFolder) -> tuple[int, int]:
    """Write the superpixels of one slice; return the numbers of images and superpixels.

    A Ray task."""
    rows = [
        (row["id"], regions_of(decode_image(row["image"], row["id"]), kind))
        for row in shards.read(piece, ("id", "image"))
    ]
    count = label_maps.write(label_maps.file_of_slice(folder, piece), rows)
    return count, sum(int(ids.max()) + 1 for _, ids in rows)


def compute(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    kind: str,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Compute the superpixels of slices with Ray tasks.

    Args:
        folder: empty folder that takes the files.
        pieces: slices of the shards.
        kind: one of `KINDS`.
        progress: called with (slices done, slices in all).

    Returns:
        Facts about the artifact for its manifest.
    """
    counts = list(cluster.map_tasks(slice_regions, list(pieces), (kind, folder), progress))
    images, regions = (sum(column) for column in zip(*counts, strict=True))
    return {"images": images, "superpixels": regions}
