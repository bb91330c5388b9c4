"""Class-agnostic segments in Parquet files, with one row for each image.

A row holds the segments' numbers of runs, and for all runs the first pixel and the length, where
the pixels of an image are counted along its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError
from ...ops.refinement.segment_merging import Segments
from ...storage.artifact_files import ArtifactFile
from . import parquet

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("runs", pa.binary()),
        ("starts", pa.binary()),
        ("lengths", pa.binary()),
    ]
)


def write(file: ArtifactFile, rows: Iterable[tuple[str, Segments]]) -> None:
    """Write `(id, segments)` rows as one file, whole or not at all."""
    table = pa.Table.from_pylist([_encode(id, s) for id, s in rows], schema=SCHEMA)
    file.write(lambda stream: pq.write_table(table, stream, compression="zstd"))


def read(path: Path) -> dict[str, Segments]:
    """Read the segments of a file of this machine, by image id.

    Raises:
        InputError: the file is missing or damaged.
    """
    return {row["id"]: _decode(row, path) for row in parquet.read(path, SCHEMA)}


def _encode(id: str, segments: Segments) -> dict[str, object]:
    starts, lengths, runs = [], [], []
    for pixels in segments.pixels:
        first = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
        starts.append(pixels[first])
        lengths.append(np.diff(first, append=len(pixels)))
        runs.append(len(first))
    return {
        "id": id,
        "height": segments.height,
        "width": segments.width,
        "runs": np.array(runs, np.int32).tobytes(),
        "starts": np.concatenate([np.zeros(0), *starts]).astype(np.int32).tobytes(),
        "lengths": np.concatenate([np.zeros(0), *lengths]).astype(np.int32).tobytes(),
    }


def _decode(row: parquet.Row, path: Path) -> Segments:
    height, width = row["height"], row["width"]
    try:
        runs, starts, lengths = (
            np.frombuffer(row[name], np.int32) for name in ("runs", "starts", "lengths")
        )
        fits = len(starts) == len(lengths) == runs.sum() and min(height, width) > 0
        fits = fits and bool((runs > 0).all() and (lengths > 0).all() and (starts >= 0).all())
        if not fits or bool((starts.astype(np.int64) + lengths > height * width).any()):
            raise ValueError("its runs do not fit the image")
    except ValueError as error:
        raise InputError(f"{path} is damaged: the segments of image {row['id']}: {error}") from None
    ends = np.cumsum(runs)[:-1]
    pairs = zip(np.split(starts, ends), np.split(lengths, ends), strict=True)
    pixels = [_pixels(*pair) for pair in pairs] if len(runs) else []
    return Segments(height, width, pixels)


def _pixels(starts: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the numbers of the pixels in runs."""
    before = np.cumsum(lengths) - lengths
    pixels = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    numbers: NDArray[np.int32] = pixels.astype(np.int32)
    return numbers
