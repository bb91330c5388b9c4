"""Shards, the Parquet files of records, which Ray Data tasks write.

A shard artifact holds `SUBSET-00000.parquet` files, SUBSET an exclusive subset of the data (named
by the lists that its images are in); row groups are the unit of reading. The driver holds no
records: tasks read, check and write rows, and return only counts and digests.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError
from ...ray_runtime.worker_errors import sendable, unwrapped
from ...storage.artifact import Artifact, Stage
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..images import decode_mask
from ..sources.source import Item, Record, Source
from . import parquet

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("labels", pa.list_(pa.uint8())),
        ("mask", pa.binary()),
        ("parts", pa.binary()),
        ("superpixels", pa.binary()),
        ("split", pa.string()),
    ]
)
OPTIONAL = ("mask", "parts", "superpixels")
ROWS_PER_GROUP = 16
ROWS_PER_SHARD = 256
TRAINING_COLUMNS = ("id", "image", "labels")
INFERENCE_COLUMNS = ("id", "image", "labels", "height", "width")


@dataclass(frozen=True)
class Slice:
    """One row group of one shard, the unit of work of a task."""

    file: ArtifactFile
    group: int
    rows: int

    @property
    def name(self) -> str:
        return f"{self.file.stem}-{self.group:04d}"


def stage_of(source: Source) -> Stage:
    """Return the stage that turns a source into shards; its key depends on the source's content."""
    config = {
        "source": source.name,
        "settings": source.settings(),
        "classes": source.classes,
        "splits": source.splits,
        "fingerprint": source.fingerprint(),
        "rows": [ROWS_PER_GROUP, ROWS_PER_SHARD],
    }
    return Stage(name="shards", version=1, config=config, title=f"shards of {source.name}")


def split_into_shards(source: Source) -> list[tuple[str, list[Item]]]:
    """Return the name and the items of each shard file, in an order that is shuffled once."""
    by_subset: dict[str, list[Item]] = {}
    for item in source.items():
        by_subset.setdefault(item.split, []).append(item)
    out = []
    for subset, items in sorted(by_subset.items()):
        random.Random(0).shuffle(items)
        for number, start in enumerate(range(0, len(items), ROWS_PER_SHARD)):
            name = f"{subset}-{number:05d}.parquet"
            out.append((name, items[start : start + ROWS_PER_SHARD]))
    return out


def write_shard(
    file: ArtifactFile, source: Source, items: Sequence[Item], tolerate: bool
) -> tuple[list[str], Counter[str], Digest]:
    """Load, check and write the records of one shard.

    Args:
        file: file of the shard.
        source: where records come from.
        items: the items of the records.
        tolerate: whether broken records are left out.

    Returns:
        A sentence about each record that was left out, the number of written records with each
        of `Record.notes`, and the digest of the written records.

    Raises:
        InputError: a record is broken and `tolerate` is false.
    """
    rows, faults = [], []
    notes: Counter[str] = Counter()
    for item in items:
        try:
            record = source.load(item)
            rows.append(_row(record))
            notes.update(record.notes)
        except InputError as error:
            if not tolerate:
                raise
            faults.append(str(error))
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    file.write(
        lambda stream: pq.write_table(
            table, stream, row_group_size=ROWS_PER_GROUP, compression="none"
        )
    )
    return faults, notes, Digest.of_rows(rows)


def write_and_count(
    file: ArtifactFile, source: Source, items: Sequence[Item], tolerate: bool
) -> parquet.Row:
    """Write one shard, see `write_shard`, and return its counts and digests as texts."""
    faults, notes, digest = write_shard(file, source, items, tolerate)
    return {
        "rows": len(items) - len(faults),
        "faults": "\n".join(faults),
        "notes": json.dumps(notes),
        "subset": subset_of(file.name),
        **digest.as_dict(),
    }


@dataclass(frozen=True)
class Digest:
    """A digest of images and of masks that does not depend on their order.

    Scores are comparable where both agree.

    Attributes:
        ids: sum of the SHA-256 of each image id.
        masks: sum of the SHA-256 of each image id with the pixels of its mask.
    """

    ids: int = 0
    masks: int = 0

    @classmethod
    def of_rows(cls, rows: Sequence[parquet.Row]) -> Digest:
        """Return the digest of rows of shards."""
        total = cls()
        for row in rows:
            id = row["id"].encode()
            mask = decode_mask(row["mask"], row["id"]) if row["mask"] else None
            pixels = b"" if mask is None else f"{mask.shape}".encode() + mask.tobytes()
            total += cls(_number(id), _number(id + b"\0" + pixels))
        return total

    def __add__(self, other: Digest) -> Digest:
        whole = 1 << 256
        return Digest((self.ids + other.ids) % whole, (self.masks + other.masks) % whole)

    def as_dict(self) -> dict[str, str]:
        """Return both sums as hexadecimal numbers."""
        return {"ids": f"{self.ids:064x}", "masks": f"{self.masks:064x}"}


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest())


def _row(record: Record) -> parquet.Row:
    return {
        "id": record.id,
        "image": record.image,
        "height": record.height,
        "width": record.width,
        "labels": list(record.labels),
        "mask": record.mask,
        "parts": record.parts,
        "superpixels": None,
        "split": record.split,
    }


def write(
    folder: ArtifactFolder,
    source: Source,
    share: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    resources: dict[str, float] | None = None,
) -> dict[str, object]:
    """Write all shards of a source into `folder` with Ray Data tasks.

    Args:
        folder: the empty folder of the artifact.
        source: where records come from.
        share: largest share of broken records that are left out; with 0 the first one raises.
        progress: called with (records done, records in all).
        resources: custom Ray resources that each task needs.

    Returns:
        Entries of the manifest: classes, splits, counts, digests, the records left out, and
        notes on how files were read.

    Raises:
        InputError: more than `share` of the records are broken.
        OSError: a shard could not be written, or a source not be read.
    """
    plan = split_into_shards(source)
    total = sum(len(items) for _, items in plan)
    done, faults = 0, []
    digests: dict[str, Digest] = {}
    notes: Counter[str] = Counter()
    for row in _write_shards(folder, source, plan, share > 0, resources):
        faults += [f for f in row["faults"].split("\n") if f]
        digest = Digest(int(row["ids"], 16), int(row["masks"], 16))
        digests[row["subset"]] = digests.get(row["subset"], Digest()) + digest
        notes.update(json.loads(row["notes"]))
        done += row["rows"]
        if progress:
            progress(done, total)
    if len(faults) > share * total:
        raise InputError(f"{len(faults)} of {total} records are broken; the first: {faults[0]}")
    read = source.notes() + [f"{count} images: {note}" for note, count in sorted(notes.items())]
    return {**_manifest_entries(folder, source, digests), "quarantined": faults, "notes": read}


def _manifest_entries(
    folder: ArtifactFolder, source: Source, digests: Mapping[str, Digest]
) -> dict[str, object]:
    """Return the entries of the manifest for written shards and the digests of their subsets."""
    names = folder.names(".parquet")
    return {
        "source": source.name,
        "classes": list(source.classes),
        "splits": {k: list(v) for k, v in source.splits.items()},
        "counts": {
            split: sum(
                sum(parquet.row_group_sizes(folder / name))
                for name in names
                if subset_of(name) in exclusive
            )
            for split, exclusive in source.splits.items()
        },
        "digests": {
            split: sum((digests[s] for s in exclusive if s in digests), Digest()).as_dict()
            for split, exclusive in source.splits.items()
        },
    }


def _write_shards(
    folder: ArtifactFolder,
    source: Source,
    plan: Sequence[tuple[str, list[Item]]],
    tolerate: bool,
    resources: dict[str, float] | None,
) -> Iterator[parquet.Row]:
    """Write each shard in a Ray Data task and yield its row count, faults and digests."""
    import ray.data

    @sendable
    def write_one(row: parquet.Row) -> parquet.Row:
        items = [Item(**{**i, "labels": tuple(i["labels"])}) for i in json.loads(row["items"])]
        return write_and_count(folder / row["name"], source, items, tolerate)

    work = [
        {"name": name, "items": json.dumps([asdict(item) for item in items])}
        for name, items in plan
    ]
    blocks = ray.data.from_items(work, override_num_blocks=len(work))
    with unwrapped():
        yield from blocks.map(write_one, resources=resources).iter_rows()


def subset_of(name: str) -> str:
    """Return the subset of the data that a shard file holds."""
    return Path(name).stem.rsplit("-", 1)[0]


def slices(shards: Artifact, split: str) -> list[Slice]:
    """Return the row groups of one split, in a fixed order.

    Raises:
        InputError: the data set has no such split, or it is empty.
    """
    splits = shards.about["splits"]
    if split not in splits:
        raise InputError(f"the data set has no split {split!r}; there are {', '.join(splits)}")
    out = []
    for file in shards.files(".parquet"):
        if subset_of(file.name) in splits[split]:
            rows = enumerate(parquet.row_group_sizes(file))
            out += [Slice(file, group, count) for group, count in rows]
    if not out:
        raise InputError(f"split {split!r} of the data set is empty")
    return out


def read(piece: Slice, columns: Sequence[str]) -> list[parquet.Row]:
    """Read the given columns of one slice; `labels` are 0-based class indices.

    Raises:
        InputError: the file is missing or damaged.
    """
    return parquet.read(piece.file.local(), SCHEMA, columns, group=piece.group, optional=OPTIONAL)


def multi_hot(labels: Sequence[int], classes: int) -> NDArray[np.float32]:
    """Return a vector `[N]` with 1 where a class is present, else 0."""
    out = np.zeros(classes, np.float32)
    out[list(labels)] = 1
    return out
