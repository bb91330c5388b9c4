"""The check of a data set in a store, from the manifest of its shards or from the shards."""

from __future__ import annotations

from ...serialization import typed
from ...storage.artifact import Artifact
from ..check.dataset_check import DatasetCheck, check_of_dataset
from ..check.shard_check import ShardCheck
from . import parquet
from .shard_records import check_of_row, subset_of
from .shards import INFERENCE_COLUMNS, Slice, read


def kept_check(shards: Artifact) -> DatasetCheck | None:
    """Return the check that the manifest of shards keeps, None where it keeps none."""
    try:
        check: DatasetCheck = typed(DatasetCheck, shards.about.get("check"), "the check")
    except ValueError:
        return None
    return check


def check_of_shards(shards: Artifact) -> DatasetCheck:
    """Return the check of a data set that its manifest keeps, or compute it from the shards.

    Shards that were written before data sets were checked have none in their manifest.

    Raises:
        InputError: a shard is missing or damaged.
    """
    about = shards.about
    if kept := kept_check(shards):
        return kept
    by_subset: dict[str, list[ShardCheck]] = {}
    columns = (*INFERENCE_COLUMNS, "mask")
    for file in shards.files(".parquet"):
        start = 0
        for group, count in enumerate(parquet.row_group_sizes(file)):
            for number, row in enumerate(read(Slice(file, group, count), columns), start):
                check = check_of_row(row, len(about["classes"]), file.name, number)
                by_subset.setdefault(subset_of(file.name), []).append(check)
            start += count
    return check_of_dataset(by_subset, about["classes"], about["splits"])
