"""Where in each image its classes' prototypes are closest: Parquet rows, one an image, class and
prototype; beside the class maps that the prototypes make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from ...ops.prototypes import unit
from ...storage.artifact_files import write_atomic
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
        id: of the image.
        value: mask value of the prototype's class, 0 the background's.
        number: of the prototype, within its class.
        kind: foreground or context; CPAL's are all called context, as in its paper.
        cosine: how close.
        y, x: the centre, as a share of the image's height and width.
    """

    id: str
    value: int
    number: int
    kind: str
    cosine: float
    y: float
    x: float


def closest(
    id: str, value: int, cosines: Tensor, width: int, kinds: Mapping[int, str]
) -> list[Patch]:
    """The patch of each prototype.

    Args:
        id: of the image.
        value: of the class.
        cosines: `[h*w,P]`, h w a grid over the image.
        width: w.
        kinds: of the prototypes that count, by number.
    """
    best = cosines.max(0)
    values, places = best.values.tolist(), best.indices.tolist()
    height = len(cosines) // width
    return [
        Patch(
            id=id,
            value=value,
            number=k,
            kind=kind,
            cosine=values[k],
            y=(places[k] // width + 0.5) / height,
            x=(places[k] % width + 0.5) / width,
        )
        for k, kind in kinds.items()
    ]


def closest_in(
    ids: Sequence[str], labels: Tensor, features: Tensor, prototypes: Mapping[int, Tensor]
) -> list[list[Patch]]:
    """The patches of images of one shape.

    Args:
        ids: B of them.
        labels: `[B,N]`.
        features: `[B,D,h,w]`.
        prototypes: `[P,D]` of each mask value, at any length.
    """
    flat = unit(features.flatten(2).transpose(1, 2))
    out = []
    for id, row, of_image in zip(ids, labels, flat, strict=True):
        found: list[Patch] = []
        for value, of_class in prototypes.items():
            if value == 0 or row[value - 1]:
                cosines = of_image @ unit(of_class).T
                kinds = dict.fromkeys(range(len(of_class)), "context")
                found += closest(id, value, cosines, features.shape[3], kinds)
        out.append(found)
    return out


def write(path: Path, rows: Iterable[Patch]) -> None:
    """Writes rows as one file, whole or not at all."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    write_atomic(path, lambda stream: pq.write_table(table, stream, compression="zstd"))


def read(path: Path) -> list[Patch]:
    """The rows of a file.

    Raises:
        InputError: it is missing or damaged.
    """
    return [Patch(**row) for row in parquet.read(path, SCHEMA)]
