"""Class maps of a CLIP method from stored attentions and initial maps, by Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...data.formats import class_maps, shards
from ...method import CLIPMethod
from ...ray_runtime import cluster
from ...storage.artifact_files import ArtifactFolder
from . import image_arrays
from .gradient_maps import as_class_maps, without_classes


@dataclass(frozen=True, kw_only=True)
class Job:
    """Description of one computation, sent to each task.

    Attributes:
        method: the method.
        attention: folder of the attentions, one file for each slice.
        maps: folder of the initial maps, one file for each slice.
        folder: folder that takes the class maps.
    """

    method: CLIPMethod
    attention: ArtifactFolder
    maps: ArtifactFolder
    folder: ArtifactFolder


def refine_slice(piece: shards.Slice, job: Job) -> int:
    """Write the class maps of one slice in a Ray task and return the number of images."""
    torch.set_num_threads(1)
    rows = shards.read(piece, ("id", "height", "width"))
    name = f"{piece.name}{image_arrays.SUFFIX}"
    initial = {image.id: image for image in image_arrays.read(job.maps / name)}
    by_id = {}
    for stored in image_arrays.read(job.attention / name):
        image = initial[stored.id]
        attention = torch.from_numpy(stored.values).float()
        planes = job.method.refine(attention, torch.from_numpy(image.values))
        by_id[image.id] = as_class_maps(image, planes)
    maps = [by_id.get(row["id"]) or without_classes(row) for row in rows]
    class_maps.write(job.folder / f"{piece.name}.parquet", maps)
    return len(rows)


def compute(
    job: Job, pieces: Sequence[shards.Slice], progress: Callable[[int, int], None], need: int = 0
) -> dict[str, Any]:
    """Compute the class maps of slices with Ray tasks.

    Args:
        job: what to compute.
        pieces: slices of the shards.
        progress: called with (slices done, slices in all).
        need: memory in bytes that an image takes at most; 0 if it is not known.

    Returns:
        Facts about the artifact for its manifest.
    """
    counts = cluster.map_tasks(refine_slice, pieces, (job,), progress, need=need)
    return {"images": sum(counts)}
