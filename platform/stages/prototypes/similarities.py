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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.formats.features import FEATURE_ROWS, FeatureRows, open_features, read_feature_rows
from ...ops.prototypes import unit
from ...ray_runtime import cluster
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from .clustering import read_centers

Similar = NDArray[np.float32]
"""Similarities `[R,P]` of one image and class."""
VALUES = ".npy"


def file_similarities(
    file: ArtifactFile, centers: Mapping[int, Tensor], folder: ArtifactFolder
) -> int:
    """Write the similarities of one feature file; a Ray task.

    Args:
        file: the feature file.
        centers: centres `[P,D]` at unit length, by class.
        folder: folder that takes the files.

    Returns:
        The number of images.
    """
    torch.set_num_threads(1)
    index_path = file.with_suffix(FEATURE_ROWS).local()
    rows, index = open_features(file.local()), read_feature_rows(index_path)
    blocks = [block.ravel() for place in index for block in similarities(place, rows, centers)]
    values = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    (folder / f"{file.stem}{VALUES}").write(lambda stream: np.save(stream, values))
    (folder / f"{file.stem}{FEATURE_ROWS}").write_bytes(index_path.read_bytes())
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


def read(
    file: ArtifactFile, centers: Mapping[int, int]
) -> Iterator[tuple[FeatureRows, list[Similar]]]:
    """Yield the index entry and the similarities of each image of a file.

    The similarities `[R,P]`, one array for each class of the image, are mapped into memory and read
    on use.

    Args:
        file: a file NAME.npy.
        centers: number of centres P, by class.
    """
    values = np.load(file.local(), mmap_mode="r", allow_pickle=False)
    start = 0
    for place in read_feature_rows(file.with_suffix(FEATURE_ROWS).local()):
        positions = sum(height * width for height, width in place.grids)
        blocks = []
        for label in place.labels:
            columns = centers.get(label, 0)
            blocks.append(values[start : start + positions * columns].reshape(positions, columns))
            start += positions * columns
        yield place, blocks


def compute(
    folder: ArtifactFolder,
    features: Sequence[ArtifactFile],
    centers: ArtifactFile,
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
        for label, class_centers in read_centers(centers.local()).items()
    }
    image_counts = cluster.map_tasks(file_similarities, features, (unit_centers, folder), progress)
    return {"images": sum(image_counts)}
