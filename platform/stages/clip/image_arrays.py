"""Arrays of one image each in Parquet files, such as its tokens or its attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...data.formats import parquet
from ...errors import InputError
from ...storage.artifact_files import ArtifactFile

SUFFIX = ".arrays"
TYPES = ("float16", "float32")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("labels", pa.list_(pa.uint8())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("grid", pa.list_(pa.int32())),
        ("type", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("block", pa.binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ImageArray:
    """An array that belongs to one image.

    Attributes:
        id: image id.
        labels: 0-based classes of the image.
        height, width: size of the image, pixels.
        grid: rows and columns of the grid of patches.
        values: float16 or float32, finite.
    """

    id: str
    labels: tuple[int, ...]
    height: int
    width: int
    grid: tuple[int, int]
    values: NDArray[Any]


def write(file: ArtifactFile, rows: Iterable[ImageArray]) -> None:
    """Write rows as one Parquet file, each row as a group that is read alone.

    Raises:
        InputError: a value is not finite.
    """

    def write_groups(stream: Any) -> None:
        with pq.ParquetWriter(stream, SCHEMA, compression="none") as writer:
            for row in rows:
                writer.write_table(pa.Table.from_pylist([_encode(row)], schema=SCHEMA))

    file.write(write_groups)


def read(file: ArtifactFile) -> Iterator[ImageArray]:
    """Yield the rows of a file in order, one of which is in memory at a time.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = file.local()
    for group, _ in enumerate(parquet.row_group_sizes(file)):
        for row in parquet.read(path, SCHEMA, group=group):
            yield _decode(row, path)


def _encode(row: ImageArray) -> dict[str, object]:
    if not np.isfinite(row.values).all():
        raise InputError(
            f"the network gives values that are not finite for image {row.id}; check its weights"
        )
    return {
        "id": row.id,
        "labels": list(row.labels),
        "height": row.height,
        "width": row.width,
        "grid": list(row.grid),
        "type": row.values.dtype.name,
        "shape": list(row.values.shape),
        "block": row.values.tobytes(),
    }


def _decode(row: parquet.Row, path: Path) -> ImageArray:
    shape, lengths = row["shape"], [*row["grid"], row["height"], row["width"]]
    fits = row["type"] in TYPES and len(row["grid"]) == 2 and min([*lengths, 1]) > 0
    kind = np.dtype(row["type"] if fits else TYPES[0])
    if (
        not fits
        or min(shape, default=0) < 0
        or (math.prod(shape) * kind.itemsize != len(row["block"]))
    ):
        raise InputError(f"{path} is damaged: the array of image {row['id']} is not {shape}")
    return ImageArray(
        id=row["id"],
        labels=tuple(row["labels"]),
        height=row["height"],
        width=row["width"],
        grid=(row["grid"][0], row["grid"][1]),
        values=np.frombuffer(row["block"], kind).reshape(shape).copy(),
    )
