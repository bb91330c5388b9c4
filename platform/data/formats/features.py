"""Feature files of inference, with float16 rows, and an index of the rows of each image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...ops.kmeans import Halves
from ...storage import filesystem
from ...storage.artifact_files import ArtifactFile
from ...storage.json_files import json_value, record_from_json
from ..names import check_id

FEATURES, FEATURE_ROWS = ".npy", ".json"


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """The rows of one image in a feature file.

    Attributes:
        id: image id.
        labels: 0-based classes of the image.
        height, width: size of the image, pixels.
        offset: number of the first row.
        grids: height and width of the grid at each scale.
    """

    id: str
    labels: tuple[int, ...]
    height: int
    width: int
    offset: int
    grids: tuple[tuple[int, int], ...]

    def raw(self, rows: NDArray[np.float16]) -> NDArray[np.float16]:
        """Return the raw features `[h*w,D]` of the image alone at scale 1.

        Args:
            rows: all rows of the file.
        """
        height, width = self.grids[0]
        return rows[self.offset : self.offset + height * width]

    def scales(self, rows: NDArray[np.float16]) -> Iterator[tuple[tuple[int, int], Halves]]:
        """Yield the grid `(h, w)` and the unit features `[h*w,D]` of each scale.

        These features are summed over image and mirror image.

        Args:
            rows: all rows of the file.
        """
        at = self.offset + self.grids[0][0] * self.grids[0][1]
        for height, width in self.grids:
            yield (height, width), rows[at : at + height * width]
            at += height * width


def read_feature_rows(path: Path) -> list[FeatureRows]:
    """Read the index of a feature file, NAME.json.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        row = json_value(filesystem.regular(path).read_bytes(), path)
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}") from error
    images: list[FeatureRows] = record_from_json(row, list[FeatureRows], path)
    for image in images:
        check_id(image.id)
        lengths = [image.height, image.width, *(side for grid in image.grids for side in grid)]
        if (
            image.offset < 0
            or min(lengths) < 1
            or not image.grids
            or min(image.labels, default=0) < 0
        ):
            raise InputError(
                f"{path} is damaged: the rows of image {image.id} have an impossible offset, size "
                "or label"
            )
    return images


def open_features(path: Path) -> Halves:
    """Map the rows of a feature file, float16 `[R,D]`, into memory without reading them.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        features: Halves = np.load(filesystem.regular(path), mmap_mode="r", allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # damaged bytes raise almost any type of exception
        raise InputError(f"{path} holds no features: {error}") from error
    if features.ndim != 2 or features.dtype != np.float16:
        raise InputError(f"{path} holds {features.dtype} {features.shape}, not float16 [R,D]")
    return features


def write_rows(file: ArtifactFile, blocks: Iterable[Halves]) -> None:
    """Write blocks of rows, float16 `[r,D]`, one of which is in memory at a time.

    The file has the bytes that `np.save` writes for all rows together. Its header has room for any
    number of rows, so the number is written last.

    Args:
        file: the file.
        blocks: at least one block.
    """

    def write(stream: Any) -> None:
        count, width = 0, 0
        for block in blocks:
            if not stream.tell():
                width = block.shape[1]
                _write_header(stream, 0, width)
            stream.write(block.data)
            count += len(block)
        stream.seek(0)
        _write_header(stream, count, width)

    file.write(write)


def _write_header(stream: Any, count: int, width: int) -> None:
    """Write the header of a file of `count` rows `[D]`, D being `width`."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros((0, width), np.float16))
    np.lib.format.write_array_header_1_0(stream, {**header, "shape": (count, width)})
