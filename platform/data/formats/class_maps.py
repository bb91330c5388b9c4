"""Class maps on disk: Parquet rows, one an image, a float16 block of the present classes.

Shapes: n present classes, h w the grid at stride 4, H W the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError
from ...storage.artifact_files import write_atomic
from . import parquet

COARSE = 8
"""The stride of a segmenter's probabilities, which are kept as class maps of all classes."""
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
        id: of the image.
        classes: mask values of the present classes, 1..N; 0 comes first where the maps bring
            a background plane of their own.
        planes: float16 `[n,h,w]`, normalised, in 0..1.
        height, width: of the image, pixels.
    """

    id: str
    classes: tuple[int, ...]
    planes: NDArray[np.float16]
    height: int
    width: int


def write(path: Path, rows: Iterable[ClassMaps]) -> None:
    """Writes rows as one Parquet file, whole or not at all."""
    table = pa.Table.from_pylist([_encode(row) for row in rows], schema=SCHEMA)
    write_atomic(path, lambda stream: pq.write_table(table, stream, compression="zstd"))


def read(paths: Sequence[Path]) -> Iterator[ClassMaps]:
    """The rows of files, in order.

    Raises:
        InputError: a file is missing or damaged.
    """
    for path in paths:
        for row in parquet.read(path, SCHEMA):
            yield _decode(row, path)


def _encode(row: ClassMaps) -> dict[str, object]:
    return {
        "id": row.id,
        "classes": list(row.classes),
        "height": row.height,
        "width": row.width,
        "grid_height": row.planes.shape[1],
        "grid_width": row.planes.shape[2],
        "block": row.planes.astype(np.float16).tobytes(),
    }


def _decode(row: dict[str, Any], path: Path) -> ClassMaps:
    shape = (len(row["classes"]), row["grid_height"], row["grid_width"])
    sides = (*shape[1:], row["height"], row["width"])
    if min(sides) < 1 or math.prod(shape) * 2 != len(row["block"]):
        raise InputError(f"{path}: the class maps of {row['id']} are not {shape} numbers")
    return ClassMaps(
        id=row["id"],
        classes=tuple(row["classes"]),
        planes=np.frombuffer(row["block"], np.float16).reshape(shape).copy(),
        height=row["height"],
        width=row["width"],
    )
