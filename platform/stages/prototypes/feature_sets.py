"""The sets of features that are clustered: the foreground and the context of each class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ...data.formats import class_maps
from ...data.formats.features import FEATURE_ROWS, read_feature_rows
from ...ops.kmeans import FeatureSet
from ...storage.artifact_files import ArtifactFile

Drawn = Mapping[int, frozenset[str]]
"""Ids of the drawn images by class."""


def draw_images(files: Sequence[ArtifactFile], images: int, seed: int) -> Drawn:
    """Draw at most `images` images of each class, independent of the order of the files.

    Args:
        files: feature files.
        images: most images of a class.
        seed: seed of the draw.

    Returns:
        The ids of the drawn images by class.
    """
    ranks: dict[int, list[tuple[bytes, str]]] = {}
    for file in files:
        for place in read_feature_rows(file.with_suffix(FEATURE_ROWS).local()):
            for label in place.labels:
                rank = hashlib.sha256(f"{seed} {label} {place.id}".encode()).digest()
                ranks.setdefault(label, []).append((rank, place.id))
    return {
        label: frozenset(id for _, id in sorted(ranked)[:images]) for label, ranked in ranks.items()
    }


def split_rows(
    file: ArtifactFile, threshold: float, drawn: Drawn | None = None
) -> dict[FeatureSet, NDArray[np.int64]]:
    """Split the rows of a feature file by class into foreground and context.

    The class map is brought to the feature grid by nearest neighbour. A position that equals the
    threshold belongs to neither set (as in the authors' code).

    Args:
        file: the feature file, with its class maps and index beside it.
        threshold: threshold of the class maps.
        drawn: images that count, by class; without it all images count.

    Returns:
        Row numbers by set: (class, 0) is the foreground, (class, 1) the context.
    """
    rows_path = file.with_suffix(FEATURE_ROWS).local()
    index = {entry.id: entry for entry in read_feature_rows(rows_path)}
    rows: dict[FeatureSet, list[NDArray[np.int64]]] = {}
    for maps in class_maps.read([file.with_suffix(".parquet").local()]):
        if not maps.classes:
            continue
        entry = index[maps.id]
        planes = torch.from_numpy(maps.planes.astype(np.float32))[None]
        on_grid = F.interpolate(planes, entry.grids[0], mode="nearest")[0].flatten(1).numpy()
        for value, plane in zip(maps.classes, on_grid, strict=True):
            if value == 0 or (drawn is not None and maps.id not in drawn[value - 1]):
                continue
            for kind, chosen in enumerate((plane > threshold, plane < threshold)):
                chosen_rows = entry.offset + np.flatnonzero(chosen)
                rows.setdefault((value - 1, kind), []).append(chosen_rows)
    return {group: np.concatenate(row_blocks) for group, row_blocks in rows.items()}
