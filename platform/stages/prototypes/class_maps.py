"""Class maps from similarities and a choice of prototypes: no network and no features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.formats import class_maps, prototype_patches
from ...data.formats.class_maps import ClassMaps
from ...data.formats.features import FeatureRows
from ...data.formats.prototype_patches import Patch
from ...method import PrototypeMethod
from ...models import weights
from ...ops.maps import grid_size, merge_scales, normalize
from ...ray_runtime import cluster
from ..training.ray_train import NETWORK
from . import similarities
from .clustering import read_centers
from .similarities import Similar

Shares = Mapping[int, Tensor]
"""Of each class, what each of its centres counts, `[P]` (`PrototypeMethod.shares`)."""


def place_maps(place: FeatureRows, similar: Sequence[Similar], shares: Shares) -> ClassMaps:
    """The class maps of one image.

    Args:
        place: where its features lie.
        similar: `[R,P]` of each of its classes.
        shares: what the centres count.
    """
    size = grid_size(place.height, place.width)
    maps = torch.zeros(0, *size)
    if place.labels:
        of_classes = zip(similar, place.labels, strict=True)
        flat = torch.stack([_combined(of_class, shares.get(n)) for of_class, n in of_classes])
        planes, at = [], 0
        for height, width in place.grids:
            part = flat[:, at : at + height * width]
            planes.append(part.reshape(1, -1, height, width).clamp(min=0))
            at += height * width
        maps = normalize(merge_scales(planes, size))[0]
    return ClassMaps(
        id=place.id,
        classes=tuple(n + 1 for n in place.labels),
        planes=maps.half().numpy(),
        height=place.height,
        width=place.width,
    )


def _combined(similar: Similar, shares: Tensor | None) -> Tensor:
    """`[R]`: the similarities as the centres count."""
    if shares is None:
        return torch.zeros(len(similar))
    return torch.from_numpy(np.array(similar)) @ shares


def place_patches(place: FeatureRows, similar: Sequence[Similar], shares: Shares) -> list[Patch]:
    """Where in one image, at the first scale, the prototypes that count are closest; see
    `place_maps`."""
    height, width = place.grids[0]
    found: list[Patch] = []
    for n, of_class in zip(place.labels, similar, strict=True):
        counts = shares.get(n, torch.zeros(0)).tolist()
        kinds = {k: "foreground" if c > 0 else "context" for k, c in enumerate(counts) if c}
        if kinds:
            cosines = torch.from_numpy(np.array(of_class[: height * width]))
            found += prototype_patches.closest(place.id, n + 1, cosines, width, kinds)
    return found


def file_maps(path: str, shares: Shares, folder: str) -> int:
    """A task: the class maps and closest patches of one file of similarities, written to
    `folder`; returns images."""
    torch.set_num_threads(1)
    source = Path(path)
    widths = {n: len(of_class) for n, of_class in shares.items()}
    rows = list(similarities.read(source, widths))
    base = Path(folder) / source.stem
    found = [patch for place, s in rows for patch in place_patches(place, s, shares)]
    if found:
        prototype_patches.write(base.with_name(base.name + prototype_patches.SUFFIX), found)
    written = [place_maps(place, s, shares) for place, s in rows]
    class_maps.write(base.with_name(f"{base.name}.parquet"), written)
    return len(written)


@lru_cache(4)
def class_weights(network: Path) -> Tensor:
    """`[N,D]` of a network artifact, the folder `network`; those read last are kept."""
    head: Tensor = weights.saved(network / NETWORK)["head.weight"]
    return head.flatten(1).float()


def chosen(centers: Path, network: Path, method: PrototypeMethod) -> dict[int, list[int]]:
    """Has the method choose its prototypes; see `PrototypeMethod.fit`.

    Args:
        centers: file of a clustering artifact.
        network: folder of the network artifact, for the class weights.
        method: whose selection it is.
    """
    return method.fit(read_centers(centers), class_weights(network))


def localize(
    folder: Path,
    similar: Sequence[Path],
    counts: Mapping[int, Sequence[int]],
    method: PrototypeMethod,
    classes: Mapping[int, str],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: writes class maps of all files of similarities to `folder`.

    Args:
        folder: empty.
        similar: the NAME.npy files of a similarity artifact.
        counts: how many prototypes were chosen, for the log.
        method: that has chosen them.
        classes: names, for the log.
        progress: called with (files done, files in all).
    """
    shared = (method.shares, str(folder))
    done = cluster.each(file_maps, [str(p) for p in similar], shared, progress)
    images = sum(done)
    return {"images": images, "prototypes": {classes[n]: list(c) for n, c in counts.items()}}
