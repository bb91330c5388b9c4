"""Shards, the Parquet files of records, which Ray Data tasks write.

A shard artifact holds `SUBSET-00000.parquet` files, SUBSET an exclusive subset of the data (named
by the lists that its images are in); row groups are the unit of reading. The driver holds no
records: tasks read, check and write rows, and return only counts and digests.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import InputError
from ...ray_runtime.worker_errors import sendable, unwrapped
from ...serialization import as_json
from ...storage.artifact import Artifact, Stage
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..check.dataset_check import DatasetCheck, check_of_dataset
from ..check.findings import refusal
from ..check.origin import origin_of
from ..check.shard_check import ShardCheck
from ..digests import Digest
from ..sources.source import Item, Source
from . import parquet
from .shard_records import ShardResult, read_records, subset_of

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


def split_into_shards(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    """Return the name and the items of each shard file, in an order that is shuffled once."""
    by_subset: dict[str, list[Item]] = {}
    for item in items:
        by_subset.setdefault(item.split, []).append(item)
    out = []
    for subset, members in sorted(by_subset.items()):
        random.Random(0).shuffle(members)
        for number, start in enumerate(range(0, len(members), ROWS_PER_SHARD)):
            name = f"{subset}-{number:05d}.parquet"
            out.append((name, members[start : start + ROWS_PER_SHARD]))
    return out


def write_shard(
    file: ArtifactFile, source: Source, items: Sequence[Item], tolerate: bool
) -> ShardResult:
    """Load, check and write the records of one shard, as `read_records` does; return its result."""
    rows, result = read_records(file.name, source, items, tolerate)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    file.write(
        lambda stream: pq.write_table(
            table, stream, row_group_size=ROWS_PER_GROUP, compression="none"
        )
    )
    return result


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was read from a source.

    Attributes:
        items: all items of the source.
        results: result of each shard.
        faults: a sentence about each record that is broken.
        check: check of all records.
    """

    items: Sequence[Item]
    results: Sequence[ShardResult]
    faults: Sequence[str]
    check: DatasetCheck

    def notes(self, source: Source) -> list[str]:
        """Return sentences on how lists, labels, images and masks of the source were read."""
        counts: Counter[str] = Counter()
        for result in self.results:
            counts.update(result.notes)
        return source.notes() + [
            f"{n} image{'s' * (n > 1)}: {note}" for note, n in sorted(counts.items())
        ]

    def refuse(self, share: float) -> None:
        """Refuse a source with too many broken records, or whose labels and masks cannot be right.

        Args:
            share: largest share of broken records that are left out.

        Raises:
            InputError: the source is refused; the message says why.
        """
        check_share(self.faults, len(self.items), share)
        if sentence := refusal(self.check):
            raise InputError(sentence)


def check_share(faults: Sequence[str], records: int, share: float) -> None:
    """Check that at most a share of the records of a source are broken.

    Args:
        faults: a sentence about each record that is broken.
        records: number of all records.
        share: largest share of broken records that are left out.

    Raises:
        InputError: more records are broken.
    """
    if len(faults) > share * records:
        raise InputError(f"{len(faults)} of {records} records are broken; the first: {faults[0]}")


def convert(
    folder: ArtifactFolder | None,
    source: Source,
    tolerate: bool,
    progress: Callable[[int, int], None] | None = None,
    resources: dict[str, float] | None = None,
) -> Conversion:
    """Read all records of a source with Ray Data tasks, which write shards into a folder.

    Args:
        folder: the empty folder of the artifact; None: nothing is written.
        source: where records come from.
        tolerate: whether broken records are left out; else the first one raises.
        progress: called with (records done, records in all).
        resources: custom Ray resources that each task needs.

    Raises:
        InputError: the source has no image, or a record is broken and `tolerate` is false.
        OSError: a shard could not be written, or a source not be read.
    """
    items = source.items()
    if not items:
        raise InputError(
            f"the source {source.name} lists no image, so there is no data set to make; look at "
            "its lists, labels or annotation files"
        )
    plan = split_into_shards(items)
    done, results = 0, []
    for result in _write_shards(folder, source, plan, tolerate, resources):
        results.append(result)
        done += result.rows
        if progress:
            progress(done, len(items))
    return conversion_of(source, items, results)


def conversion_of(
    source: Source, items: Sequence[Item], results: Sequence[ShardResult]
) -> Conversion:
    """Return what was read from a source, from the results of all shards in any order."""
    by_subset: dict[str, list[ShardCheck]] = {}
    for result in results:
        by_subset.setdefault(result.subset, []).append(result.check)
    return Conversion(
        items=items,
        results=results,
        faults=[fault for result in results for fault in result.faults],
        check=check_of_dataset(by_subset, source.classes, source.splits),
    )


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
        Entries of the manifest: classes, splits, counts, digests, the records left out, notes on
        how files were read, the origin of the data set, and its check.

    Raises:
        InputError: more than `share` of the records are broken, or labels and masks cannot be
            right, see `findings.refusal`.
        OSError: a shard could not be written, or a source not be read.
    """
    converted = convert(folder, source, share > 0, progress, resources)
    converted.refuse(share)
    return manifest_entries(source, converted)


def manifest_entries(source: Source, converted: Conversion) -> dict[str, object]:
    """Return the entries of the manifest of shards, see `write`."""
    digests: dict[str, Digest] = {}
    for result in converted.results:
        digests[result.subset] = digests.get(result.subset, Digest()) + result.digest
    return {
        "source": source.name,
        "classes": list(source.classes),
        "splits": {k: list(v) for k, v in source.splits.items()},
        "counts": {split: counts.images for split, counts in converted.check.splits.items()},
        "digests": {
            split: sum((digests[s] for s in subsets if s in digests), Digest()).as_dict()
            for split, subsets in source.splits.items()
        },
        "quarantined": list(converted.faults),
        "notes": converted.notes(source),
        "origin": origin_of(source, converted.items),
        "check": as_json(converted.check),
    }


def _write_shards(
    folder: ArtifactFolder | None,
    source: Source,
    plan: Sequence[tuple[str, list[Item]]],
    tolerate: bool,
    resources: dict[str, float] | None,
) -> Iterator[ShardResult]:
    """Read each shard's records in a Ray Data task, which writes them if there is a folder."""
    import ray.data

    @sendable
    def write_one(row: parquet.Row) -> parquet.Row:
        items = [Item(**{**i, "labels": tuple(i["labels"])}) for i in json.loads(row["items"])]
        if folder is None:
            return read_records(row["name"], source, items, tolerate)[1].as_row()
        return write_shard(folder / row["name"], source, items, tolerate).as_row()

    work = [
        {"name": name, "items": json.dumps([asdict(item) for item in items])}
        for name, items in plan
    ]
    blocks = ray.data.from_items(work, override_num_blocks=len(work))
    with unwrapped():
        for row in blocks.map(write_one, resources=resources).iter_rows():
            yield ShardResult.from_row(row)


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
        raise InputError(f"split {split!r} of the data set is empty; name another split")
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
