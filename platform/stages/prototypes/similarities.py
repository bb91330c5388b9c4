"""Cosines of kept features with the cluster centres of their image's classes, by Ray tasks.

The choice of prototypes among the centres comes later. It then costs one product of an image's
similarities with a vector, a hundredth of the time that reading the features would take. An
artifact holds for each feature file of the class maps

    NAME.npy    float32, flat: for each image and each of its classes a block `[R,P]`
    NAME.json   the index of the feature file

R are the image's positions at all scales, P the centres of a class, foreground before context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.formats.features import FEATURE_ROWS, FeatureRows, open_features, read_feature_rows
from ...ops.prototypes import unit
from ...ray_runtime import cluster
from ...storage import artifact_files
from ...storage.artifact_files import write_atomic
from .clustering import read_centers

Similar = NDArray[np.float32]
"""Similarities `[R,P]` of one image and class."""
VALUES = ".npy"


def file_similarities(path: str, centers: Mapping[int, Tensor], folder: str) -> int:
    """Write the similarities of one feature file; a Ray task.

    Args:
        path: the feature file.
        centers: centres `[P,D]` at unit length, by class.
        folder: folder that takes the files.

    Returns:
        The number of images.
    """
    torch.set_num_threads(1)
    source, target = Path(path), Path(folder)
    rows, index = open_features(source), read_feature_rows(source.with_suffix(FEATURE_ROWS))
    blocks = [block.ravel() for place in index for block in similarities(place, rows, centers)]
    values = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    write_atomic(target / f"{source.stem}{VALUES}", lambda stream: np.save(stream, values))
    index_bytes = artifact_files.local(source.with_suffix(FEATURE_ROWS)).read_bytes()
    write_atomic(target / f"{source.stem}{FEATURE_ROWS}", lambda stream: stream.write(index_bytes))
    return len(index)


def similarities(place: FeatureRows, rows: Any, centers: Mapping[int, Tensor]) -> Iterator[Similar]:
    """Yield the similarities `[R,P]` of one image for each of its classes.

    Args:
        place: index entry of the image.
        rows: float16 `[R,D]` of the feature file.
        centers: centres `[P,D]` at unit length, by class; a class without centres has P = 0.
    """
    features = np.concatenate([scale_features for _, scale_features in place.scales(rows)])
    unit_features = torch.from_numpy(features.astype(np.float32))
    for label in place.labels:
        class_centers = centers.get(label)
        if class_centers is None:
            yield np.zeros((len(features), 0), np.float32)
        else:
            yield (unit_features @ class_centers.T).numpy()


def read(path: Path, centers: Mapping[int, int]) -> Iterator[tuple[FeatureRows, list[Similar]]]:
    """Yield the index entry and the similarities of each image of a file.

    The similarities `[R,P]`, one array for each class of the image, are mapped into memory and read
    on use.

    Args:
        path: a file NAME.npy.
        centers: number of centres P, by class.
    """
    values = np.load(artifact_files.local(path), mmap_mode="r", allow_pickle=False)
    start = 0
    for place in read_feature_rows(path.with_suffix(FEATURE_ROWS)):
        positions = sum(height * width for height, width in place.grids)
        blocks = []
        for label in place.labels:
            columns = centers.get(label, 0)
            blocks.append(values[start : start + positions * columns].reshape(positions, columns))
            start += positions * columns
        yield place, blocks


def compute(
    folder: Path,
    features: Sequence[Path],
    centers: Path,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Compute the similarities of all feature files with Ray tasks.

    Args:
        folder: empty folder that takes the files.
        features: feature files.
        centers: file of a clustering artifact.
        progress: called with (files done, files in all).

    Returns:
        Facts about the artifact for its manifest.
    """
    unit_centers = {
        label: unit(torch.cat([class_centers.foreground, class_centers.context]))
        for label, class_centers in read_centers(centers).items()
    }
    image_counts = cluster.each(
        file_similarities, [str(p) for p in features], (unit_centers, str(folder)), progress
    )
    return {"images": sum(image_counts)}
