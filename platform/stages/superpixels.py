"""Superpixels of a split, computed once as Ray tasks and kept as PNGs of ids in Parquet files.

An artefact holds NAME.parquet for each slice of the shards, with the columns `id` and
`superpixels`; ids are 0 to 254.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..data import shards
from ..data.images import decode_image, decode_mask, encode_png
from ..ops.superpixels import felzenszwalb, merged, slic
from ..store import write_atomic
from . import cluster

KINDS = ("merged", "unmerged", "slic")
"""Felzenszwalb's regions joined to at most 64, joined to at most 255, or SLIC."""


def regions_of(image: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """The superpixels of uint8 RGB `[H,W,3]`: ids `[H,W]` from 0."""
    if kind == "slic":
        return slic(image).astype(np.uint8)
    most = {"merged": 64, "unmerged": 255}[kind]
    return merged(image, felzenszwalb(image), most).astype(np.uint8)


def file_of(folder: Path | str, piece: shards.Slice) -> str:
    """The file of one slice in an artefact."""
    return str(Path(folder) / f"{piece.name}.parquet")


def slice_regions(piece: shards.Slice, kind: str, folder: str) -> tuple[int, int]:
    """A task: writes the superpixels of one slice; returns images and superpixels."""
    rows, most = [], 0
    for row in shards.read(piece, ("id", "image")):
        ids = regions_of(decode_image(row["image"], row["id"]), kind)
        most += int(ids.max()) + 1
        rows.append({"id": row["id"], "superpixels": encode_png(ids, palette=False)})
    table = pa.Table.from_pylist(rows)
    write_atomic(Path(file_of(folder, piece)), lambda stream: pq.write_table(table, stream))
    return len(rows), most


def compute(
    folder: Path,
    pieces: Sequence[shards.Slice],
    kind: str,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: superpixels of all slices, in `folder`."""
    found = list(cluster.each(slice_regions, list(pieces), (kind, str(folder)), progress))
    images, regions = (sum(column) for column in zip(*found, strict=True))
    return {"images": images, "superpixels": regions}


def read(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The superpixels of a file's images, ids `[H,W]`, by image id."""
    rows = pq.read_table(path).to_pylist()
    return {r["id"]: decode_mask(r["superpixels"], r["id"]) for r in rows}
