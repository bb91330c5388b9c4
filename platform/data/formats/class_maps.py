"""Class maps in Parquet files, with one row for each image.

A row holds a float16 block with a plane for each present class.
Shapes: n present classes, H W the image, h w the grid, which spans the image: at stride 4, at
stride 8 for probabilities, at a share of the image's size after pixel-adaptive refinement, or
the image's own size with `views.enlarging=irn`. Inferred maps of the image's own size have a file
NAME.strided beside them, with the maps at stride 4 from which a random walk starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError
from ...storage.artifact import Artifact
from ...storage.artifact_files import ArtifactFile
from . import parquet

PROBABILITY_STRIDE = 8
"""Stride of the probabilities of a segmenter, which are stored as class maps of all classes."""
MAPS, STRIDED = ".parquet", ".strided"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("classes", pa.list_(pa.uint8())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
        ("block", pa.binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ClassMaps:
    """The class maps of one image.

    Attributes:
        id: image id.
        classes: mask values of the present classes, 1..N; 0 comes first where the maps include a
            background plane.
        planes: float16 `[n,h,w]`, normalised, in 0..1.
        height, width: size of the image, pixels.
    """

    id: str
    classes: tuple[int, ...]
    planes: NDArray[np.float16]
    height: int
    width: int


def write(file: ArtifactFile, rows: Iterable[ClassMaps]) -> None:
    """Write rows as one Parquet file, whole or not at all."""
    table = pa.Table.from_pylist([_encode(row) for row in rows], schema=SCHEMA)
    file.write(lambda stream: pq.write_table(table, stream, compression="zstd"))


def strided_suffix(artifact: Artifact) -> str:
    """Return the suffix of an artifact's files of class maps at stride 4."""
    return STRIDED if artifact.files(STRIDED) else MAPS


def read(paths: Iterable[Path]) -> Iterator[ClassMaps]:
    """Yield the rows of files of this machine, in order.

    Raises:
        InputError: a file is missing or damaged.
    """
    for path in paths:
        for row in parquet.read(path, SCHEMA):
            yield _decode(row, path)


def read_in_order(file: ArtifactFile, ids: Sequence[str]) -> list[ClassMaps]:
    """Return the class maps of images that a file holds, in the order of `ids`.

    Raises:
        InputError: the file is missing or damaged, or lacks the class maps of an image.
    """
    by_id = {maps.id: maps for maps in read([file.local()])}
    for id in ids:
        if id not in by_id:
            raise InputError(f"image {id} has no class maps in {file.name}")
    return [by_id[id] for id in ids]


def _encode(row: ClassMaps) -> dict[str, object]:
    if not np.isfinite(row.planes).all():
        raise InputError(
            f"the class maps of image {row.id} hold NaN or infinite values; the weights of the "
            "network are not finite, or its method divides by zero"
        )
    return {
        "id": row.id,
        "classes": list(row.classes),
        "height": row.height,
        "width": row.width,
        "grid_height": row.planes.shape[1],
        "grid_width": row.planes.shape[2],
        "block": row.planes.astype(np.float16).tobytes(),
    }


def _decode(row: parquet.Row, path: Path) -> ClassMaps:
    shape = (len(row["classes"]), row["grid_height"], row["grid_width"])
    lengths = (*shape[1:], row["height"], row["width"])
    if min(lengths) < 1 or math.prod(shape) * 2 != len(row["block"]):
        raise InputError(
            f"{path} is damaged: the class maps of image {row['id']} are not {shape} numbers"
        )
    return ClassMaps(
        id=row["id"],
        classes=tuple(row["classes"]),
        planes=np.frombuffer(row["block"], np.float16).reshape(shape).copy(),
        height=row["height"],
        width=row["width"],
    )
