"""Prototype patches: the position in each image that is closest to a prototype.

They lie in Parquet files beside the class maps that the prototypes make, with one row for each
image, class and prototype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from ...ops.prototypes import unit
from ...storage.artifact_files import ArtifactFile
from . import parquet

SUFFIX = ".patches"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("value", pa.uint8()),
        ("number", pa.int32()),
        ("kind", pa.string()),
        ("cosine", pa.float32()),
        ("y", pa.float32()),
        ("x", pa.float32()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Patch:
    """The position of an image that is closest to one prototype.

    Attributes:
        id: image id.
        value: mask value of the prototype's class, 0 for the background.
        number: number of the prototype within its class.
        kind: foreground or context; all prototypes of CPAL are called context, as in its paper.
        cosine: cosine of the features at the position to the prototype.
        y, x: centre of the position, as a share of the image's height and width.
    """

    id: str
    value: int
    number: int
    kind: str
    cosine: float
    y: float
    x: float


def closest_patches(
    id: str, value: int, cosines: Tensor, width: int, kinds: Mapping[int, str]
) -> list[Patch]:
    """Return the patch of each prototype of one class in one image.

    Args:
        id: image id.
        value: mask value of the class.
        cosines: `[h*w,P]`, h w a grid over the image.
        width: w.
        kinds: by number of a prototype, its kind; prototypes without a kind give no patch.
    """
    best = cosines.max(0)
    values, positions = best.values.tolist(), best.indices.tolist()
    height = len(cosines) // width
    return [
        Patch(
            id=id,
            value=value,
            number=k,
            kind=kind,
            cosine=values[k],
            y=(positions[k] // width + 0.5) / height,
            x=(positions[k] % width + 0.5) / width,
        )
        for k, kind in kinds.items()
    ]


def closest_patches_by_image(
    ids: Sequence[str], labels: Tensor, features: Tensor, prototypes: Mapping[int, Tensor]
) -> list[list[Patch]]:
    """Return the patches of each image of a batch.

    Args:
        ids: image ids, B of them.
        labels: `[B,N]`, 1 where a class is present.
        features: `[B,D,h,w]`.
        prototypes: by mask value, `[P,D]` of any length.
    """
    flat = unit(features.flatten(2).transpose(1, 2))
    out = []
    for id, row, vectors in zip(ids, labels, flat, strict=True):
        patches: list[Patch] = []
        for value, class_prototypes in prototypes.items():
            if value == 0 or row[value - 1]:
                cosines = vectors @ unit(class_prototypes).T
                kinds = dict.fromkeys(range(len(class_prototypes)), "context")
                patches += closest_patches(id, value, cosines, features.shape[3], kinds)
        out.append(patches)
    return out


def write(file: ArtifactFile, rows: Iterable[Patch]) -> None:
    """Write rows as one file, whole or not at all."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    file.write(lambda stream: pq.write_table(table, stream, compression="zstd"))


def read(path: Path) -> list[Patch]:
    """Read the rows of a file of this machine.

    Raises:
        InputError: the file is missing or damaged.
    """
    return [Patch(**row) for row in parquet.read(path, SCHEMA)]
