"""Class maps from stored similarities and a choice of prototypes, without network and features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...config.experiment import Enlarging
from ...data.formats import class_maps, prototype_patches
from ...data.formats.class_maps import ClassMaps
from ...data.formats.features import FeatureRows
from ...data.formats.prototype_patches import Patch
from ...method import PrototypeMethod
from ...models import weights
from ...ops.maps import grid_size, merge_scales, merge_scales_and_cut, normalize
from ...ray_runtime import cluster
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..training.ray_train import NETWORK
from . import similarities
from .clustering import read_centers
from .similarities import Similar

Shares = Mapping[int, Tensor]
"""Weight of each centre of a class, `[P]`, by class (`PrototypeMethod.shares`)."""


def place_maps(
    place: FeatureRows,
    similar: Sequence[Similar],
    shares: Shares,
    enlarging: Enlarging = "stretch",
) -> ClassMaps:
    """Return the class maps of one image.

    Args:
        place: index entry of the image: its classes, size and feature grids.
        similar: similarities `[R,P]` for each of the image's classes.
        shares: weights of the centres by class.
        enlarging: whether the maps are on the grid at stride 4, or at the image's size.
    """
    irn = enlarging == "irn"
    size = (place.height, place.width) if irn else grid_size(place.height, place.width)
    maps = torch.zeros(0, *size)
    if place.labels:
        planes = _scale_planes(place, similar, shares)
        merge = merge_scales_and_cut if irn else merge_scales
        maps = normalize(merge(planes, size))[0]
    return ClassMaps(
        id=place.id,
        classes=tuple(n + 1 for n in place.labels),
        planes=maps.half().numpy(),
        height=place.height,
        width=place.width,
    )


def _scale_planes(place: FeatureRows, similar: Sequence[Similar], shares: Shares) -> list[Tensor]:
    """Return the rectified maps `[1,n,h,w]` of each scale, see `place_maps`."""
    by_class = zip(similar, place.labels, strict=True)
    flat = torch.stack([_combined(class_similar, shares.get(n)) for class_similar, n in by_class])
    planes, start = [], 0
    for height, width in place.grids:
        block = flat[:, start : start + height * width]
        planes.append(block.reshape(1, -1, height, width).clamp(min=0))
        start += height * width
    return planes


def _combined(similar: Similar, shares: Tensor | None) -> Tensor:
    """Return the weighted sum `[R]` of the similarities; zeros where a class has no weights."""
    if shares is None:
        return torch.zeros(len(similar))
    return torch.from_numpy(np.array(similar)) @ shares


def place_patches(place: FeatureRows, similar: Sequence[Similar], shares: Shares) -> list[Patch]:
    """Return the patches of one image that are closest to the prototypes in use, at scale 1.

    Args:
        place, similar, shares: see `place_maps`.
    """
    height, width = place.grids[0]
    patches: list[Patch] = []
    for n, class_similar in zip(place.labels, similar, strict=True):
        class_shares = shares.get(n, torch.zeros(0)).tolist()
        kinds = {
            number: "foreground" if share > 0 else "context"
            for number, share in enumerate(class_shares)
            if share
        }
        if kinds:
            cosines = torch.from_numpy(np.array(class_similar[: height * width]))
            patches += prototype_patches.closest_patches(place.id, n + 1, cosines, width, kinds)
    return patches


def file_maps(
    file: ArtifactFile, shares: Shares, folder: ArtifactFolder, enlarging: Enlarging = "stretch"
) -> int:
    """Write class maps and closest patches from one file of similarities; a Ray task.

    Args:
        file: NAME.npy of a similarity artifact.
        shares: weights of the centres by class.
        folder: folder that takes the files.
        enlarging: see `place_maps`; maps at the image's size have maps at stride 4 beside them.

    Returns:
        The number of images.
    """
    torch.set_num_threads(1)
    widths = {n: len(class_shares) for n, class_shares in shares.items()}
    rows = list(similarities.read(file, widths))
    patches = [patch for place, similar in rows for patch in place_patches(place, similar, shares)]
    if patches:
        prototype_patches.write(folder / f"{file.stem}{prototype_patches.SUFFIX}", patches)
    rules: dict[str, Enlarging] = {class_maps.MAPS: enlarging}
    rules |= {class_maps.STRIDED: "stretch"} if enlarging == "irn" else {}
    for suffix, rule in rules.items():
        maps = [place_maps(place, similar, shares, rule) for place, similar in rows]
        class_maps.write(folder / f"{file.stem}{suffix}", maps)
    return len(rows)


@lru_cache(4)
def linear_classifier(network: ArtifactFolder) -> tuple[Tensor, Tensor | None]:
    """Return the class weights `[N,D]` and the class bias `[N]`, if any, of a network artifact.

    The last four results are cached. The weights are those of `Classifier.class_weights`.

    Args:
        network: folder of the artifact.
    """
    state = weights.read_torch_file((network / NETWORK).local())
    head, bias = state["head.weight"], state.get("head.bias")
    return head.sum((2, 3)).float(), None if bias is None else bias.float()


def chosen(
    centers: ArtifactFile, network: ArtifactFolder, method: PrototypeMethod
) -> dict[int, list[int]]:
    """Let a method choose its prototypes and return their numbers, see `PrototypeMethod.fit`.

    Args:
        centers: file of a clustering artifact.
        network: folder of the network artifact, for the class weights.
        method: method that chooses.

    Returns:
        For each class the numbers of foreground and context prototypes.
    """
    return method.fit(read_centers(centers.local()), *linear_classifier(network))


def localize(
    folder: ArtifactFolder,
    similar: Sequence[ArtifactFile],
    counts: Mapping[int, Sequence[int]],
    method: PrototypeMethod,
    classes: Mapping[int, str],
    progress: Callable[[int, int], None],
    enlarging: Enlarging = "stretch",
) -> dict[str, Any]:
    """Compute class maps from all files of similarities with Ray tasks.

    Args:
        folder: empty folder that takes the files.
        similar: NAME.npy files of a similarity artifact.
        counts: numbers of chosen prototypes by class, for the manifest.
        method: method that has chosen its prototypes.
        classes: class names by number, for the manifest.
        progress: called with (files done, files in all).
        enlarging: see `file_maps`.

    Returns:
        Facts about the artifact for its manifest.
    """
    shared = (method.shares, folder, enlarging)
    image_counts = cluster.map_tasks(file_maps, similar, shared, progress)
    images = sum(image_counts)
    return {"images": images, "prototypes": {classes[n]: list(c) for n, c in counts.items()}}
