"""The records of one shard as rows, and what a task returns on them to the driver."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, StorageError
from ...serialization import as_json, typed
from ..check.shard_check import ShardCheck, check_of_record, sum_of_checks
from ..digests import Digest
from ..images import decode_mask, encode_png
from ..readers.image_files import read_image_file
from ..sources.source import Item, Record, Source
from . import parquet


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a task returns on the records of one shard.

    Attributes:
        subset: exclusive subset of the records.
        rows: number of records.
        faults: a sentence about each record that was left out.
        notes: number of records with each of `Record.notes`.
        digest: digest of the records.
        check: check of the records.
    """

    subset: str
    rows: int
    faults: tuple[str, ...]
    notes: dict[str, int]
    digest: Digest
    check: ShardCheck

    def as_row(self) -> parquet.Row:
        """Return the result as a row of one text, which `from_row` reads."""
        return {"result": json.dumps(as_json(self))}

    @classmethod
    def from_row(cls, row: parquet.Row) -> ShardResult:
        """Return the result that `as_row` wrote."""
        result: ShardResult = typed(cls, json.loads(row["result"]))
        return result


def read_records(
    name: str, source: Source, items: Sequence[Item], tolerate: bool
) -> tuple[list[parquet.Row], ShardResult]:
    """Load and check the records of one shard, and return its rows and their result.

    Args:
        name: name of the shard.
        source: where records come from.
        items: the items of the records.
        tolerate: whether broken records are left out.

    Raises:
        InputError: a record is broken and `tolerate` is false.
        StorageError: a file cannot be read now; the record may be intact.
    """
    rows: list[parquet.Row] = []
    faults: list[str] = []
    notes: Counter[str] = Counter()
    digest, checks, classes = Digest(), [], len(source.classes)
    for item in items:
        try:
            record = source.load(item)
        except InputError as error:
            if not tolerate or isinstance(error, StorageError):
                raise
            faults.append(str(error))
            continue
        digest += Digest.of_image(record.id, record.mask)
        checks.append(check_of_record(record, classes, (name, len(rows))))
        rows.append(row_of(record))
        notes.update(record.notes)
        del record  # or its pixels would wait in memory for those of the next image
    return rows, ShardResult(
        subset=subset_of(name),
        rows=len(rows),
        faults=tuple(faults),
        notes=dict(notes),
        digest=digest,
        check=sum_of_checks(checks, classes),
    )


def check_of_row(row: parquet.Row, classes: int, file: str, number: int) -> ShardCheck:
    """Return the check of one row of a shard.

    Args:
        row: the row, with the columns of `shards.INFERENCE_COLUMNS` and `mask`.
        classes: number of classes.
        file: name of the shard.
        number: number of the row in the shard.

    Raises:
        InputError: the stored image or mask is damaged.
    """
    image = read_image_file(row["image"], row["id"])
    record = Record(
        id=row["id"],
        image=image.data,
        pixels=image.pixels,
        orientation=image.orientation,
        labels=tuple(row["labels"]),
        mask=decode_mask(row["mask"], row["id"]) if row["mask"] else None,
        split=subset_of(file),
    )
    return check_of_record(record, classes, (file, number))


def row_of(record: Record) -> parquet.Row:
    """Return the row of a shard that holds a record; mask and part map are PNGs in it."""
    height, width = record.pixels.shape[:2]
    return {
        "id": record.id,
        "image": record.image,
        "height": height,
        "width": width,
        "labels": list(record.labels),
        "mask": None if record.mask is None else encode_png(record.mask),
        "parts": None if record.parts is None else encode_png(record.parts, palette=False),
        "superpixels": None,
        "split": record.split,
    }


def subset_of(name: str) -> str:
    """Return the subset of the data that a shard file holds."""
    return Path(name).stem.rsplit("-", 1)[0]
