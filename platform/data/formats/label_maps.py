"""Label maps in Parquet files: superpixels, pseudo labels, predicted labels.

An artifact holds NAME.parquet for each slice of the shards, with the columns `id` and `plane`, a
PNG of values 0 to 255. Class maps that were refined with boundaries may have a file NAME.edges of
the same format: 255 times the probability of a boundary, on the grid of the maps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..images import decode_mask, encode_png
from . import parquet
from .shards import Slice

Plane = NDArray[np.uint8]
EDGES = ".edges"
SCHEMA = pa.schema([("id", pa.string()), ("plane", pa.binary())])


def file_of_slice(folder: ArtifactFolder, piece: Slice, suffix: str = ".parquet") -> ArtifactFile:
    """Return the file of one slice in an artifact."""
    return folder / f"{piece.name}{suffix}"


def write(file: ArtifactFile, rows: Iterable[tuple[str, Plane]]) -> int:
    """Write `(id, plane)` rows as one file, whole or not at all, and return their number."""
    encoded = [{"id": id, "plane": encode_png(plane, palette=False)} for id, plane in rows]
    table = pa.Table.from_pylist(encoded, schema=SCHEMA)
    file.write(lambda stream: pq.write_table(table, stream))
    return len(encoded)


def read(path: Path) -> dict[str, Plane]:
    """Read the planes `[H,W]` of a file of this machine, by image id.

    Raises:
        InputError: the file is missing or damaged.
    """
    return {r["id"]: decode_mask(r["plane"], r["id"]) for r in parquet.read(path, SCHEMA)}
