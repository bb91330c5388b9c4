"""Feature files of inference: float16 rows, and where the rows of each image lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...ops.kmeans import Halves
from ...storage import artifact_files
from ...storage.json_files import read_record
from ..sources.source import check_id

FEATURES, PLACES = ".npy", ".json"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the features of one image lie in its file: `offset` row; grids of each scale."""

    id: str
    labels: tuple[int, ...]
    height: int
    width: int
    offset: int
    grids: tuple[tuple[int, int], ...]

    def raw(self, rows: NDArray[np.float16]) -> NDArray[np.float16]:
        """`[h*w,D]`: the features of one view at scale 1."""
        height, width = self.grids[0]
        return rows[self.offset : self.offset + height * width]

    def scales(self, rows: NDArray[np.float16]) -> Iterator[tuple[tuple[int, int], Any]]:
        """`(h, w)` and the unit features `[h*w,D]` of each scale."""
        at = self.offset + self.grids[0][0] * self.grids[0][1]
        for height, width in self.grids:
            yield (height, width), rows[at : at + height * width]
            at += height * width


def read_places(path: Path) -> list[Place]:
    """The places in a NAME.json file.

    Raises:
        InputError: it is missing or damaged.
    """
    found: list[Place] = read_record(artifact_files.local(path), list[Place])
    for place in found:
        check_id(place.id)
        sides = [place.height, place.width, *(side for grid in place.grids for side in grid)]
        if (
            place.offset < 0
            or min(sides) < 1
            or not place.grids
            or min(place.labels, default=0) < 0
        ):
            raise InputError(f"{path} places the features of {place.id} where none can be")
    return found


def open_features(path: Path) -> Halves:
    """float16 `[R,D]` of a feature file, mapped, not read.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        features: Halves = np.load(artifact_files.local(path), mmap_mode="r", allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} holds no features: {error}") from error
    if features.ndim != 2 or features.dtype != np.float16:
        raise InputError(f"{path} holds {features.dtype} {features.shape}, not float16 [R,D]")
    return features
