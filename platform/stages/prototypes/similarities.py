"""Cosines of kept features with the cluster centres of their image's classes; Ray tasks.

Which centres become prototypes is chosen later, and then costs a product of these with a vector
an image: a hundredth of what the features themselves would cost to read. An artifact holds, for
each feature file of the maps,

    NAME.npy    float32, flat: of each image, of each of its classes, `[R,P]`
    NAME.json   where each image's features lie, as beside the features

R are the image's positions at all scales, P its class's centres, foreground before context.
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
VALUES = ".npy"


def file_similarities(path: str, centers: Mapping[int, Tensor], folder: str) -> int:
    """A task: the similarities of one feature file; returns images.

    Args:
        path: of the features.
        centers: `[P,D]` of each class, at unit length.
        folder: to write to.
    """
    torch.set_num_threads(1)
    source, target = Path(path), Path(folder)
    rows, places = open_features(source), read_feature_rows(source.with_suffix(FEATURE_ROWS))
    found = [block.ravel() for place in places for block in similarities(place, rows, centers)]
    values = np.concatenate(found) if found else np.zeros(0, np.float32)
    write_atomic(target / f"{source.stem}{VALUES}", lambda stream: np.save(stream, values))
    text = artifact_files.local(source.with_suffix(FEATURE_ROWS)).read_bytes()
    write_atomic(target / f"{source.stem}{FEATURE_ROWS}", lambda stream: stream.write(text))
    return len(places)


def similarities(place: FeatureRows, rows: Any, centers: Mapping[int, Tensor]) -> Iterator[Similar]:
    """`[R,P]` of each class of one image; no columns where a class has no centres."""
    features = np.concatenate([of_scale for _, of_scale in place.scales(rows)])
    unit_features = torch.from_numpy(features.astype(np.float32))
    for n in place.labels:
        of_class = centers.get(n)
        if of_class is None:
            yield np.zeros((len(features), 0), np.float32)
        else:
            yield (unit_features @ of_class.T).numpy()


def read(path: Path, centers: Mapping[int, int]) -> Iterator[tuple[FeatureRows, list[Similar]]]:
    """The places of a file and the `[R,P]` of each class, mapped, not read.

    Args:
        path: a NAME.npy.
        centers: P of each class that has any.
    """
    values = np.load(artifact_files.local(path), mmap_mode="r", allow_pickle=False)
    at = 0
    for place in read_feature_rows(path.with_suffix(FEATURE_ROWS)):
        positions = sum(height * width for height, width in place.grids)
        blocks = []
        for n in place.labels:
            columns = centers.get(n, 0)
            blocks.append(values[at : at + positions * columns].reshape(positions, columns))
            at += positions * columns
        yield place, blocks


def compute(
    folder: Path,
    features: Sequence[Path],
    centers: Path,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: leaves the similarities of all feature files in `folder`."""
    found = {
        n: unit(torch.cat([of.foreground, of.context])) for n, of in read_centers(centers).items()
    }
    done = cluster.each(
        file_similarities, [str(p) for p in features], (found, str(folder)), progress
    )
    return {"images": sum(done)}
