"""Class maps from kept features and prototypes: one matrix product an image, no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import class_maps
from ..data.class_maps import ClassMaps
from ..method import PrototypeMethod
from ..models import weights
from ..ops.maps import grid_size, merge_scales, normalize
from . import cluster
from .clustering import open_features, read_centers
from .maps import PLACES, Place, read_places
from .train import NETWORK


def place_maps(place: Place, rows: Any, directions: Tensor) -> ClassMaps:
    """The class maps of one image from its kept features.

    Args:
        place: where they lie in `rows`.
        rows: float16 `[R,D]` of its file.
        directions: `[N,D]`, what unit features are multiplied with.
    """
    wanted = directions[list(place.labels)]
    planes = []
    for (height, width), features in place.scales(rows):
        flat = torch.from_numpy(features.astype(np.float32)) @ wanted.T
        planes.append(flat.T.reshape(1, len(wanted), height, width).clamp(min=0))
    size = grid_size(place.height, place.width)
    maps = normalize(merge_scales(planes, size))[0] if place.labels else torch.zeros(0, *size)
    return ClassMaps(
        id=place.id,
        classes=tuple(n + 1 for n in place.labels),
        planes=maps.half().numpy(),
        height=place.height,
        width=place.width,
    )


def file_maps(path: str, directions: Tensor, folder: str) -> int:
    """A task: the class maps of one feature file, written to `folder`; returns images."""
    torch.set_num_threads(1)
    source = Path(path)
    rows = open_features(source)
    places = read_places(source.with_suffix(PLACES))
    written = [place_maps(p, rows, directions) for p in places]
    class_maps.write(Path(folder) / f"{source.stem}.parquet", written)
    return len(written)


def localize(
    folder: Path,
    features: Sequence[Path],
    centers: Path,
    network: Path,
    method: PrototypeMethod,
    classes: Mapping[int, str],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: selects prototypes, writes class maps of all feature files to `folder`.

    Args:
        folder: empty.
        features: the NAME.npy files of a maps artefact.
        centers: file of a clustering artefact.
        network: folder of the network artefact, for the class weights.
        method: whose selection it is.
        classes: names, for the log.
        progress: called with (files done, files in all).
    """
    state = weights.saved(network / NETWORK)
    counts = method.fit(read_centers(centers), state["head.weight"].flatten(1).float())
    done = cluster.each(
        file_maps, [str(p) for p in features], (method.directions, str(folder)), progress
    )
    images = sum(done)
    return {"images": images, "prototypes": {classes[n]: c for n, c in counts.items()}}
