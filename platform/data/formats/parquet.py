"""Reading of Parquet files with rows of images, with a check of each row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import InputError
from ...storage import filesystem
from ...storage.artifact_files import ArtifactFile
from ..names import check_id

Row: TypeAlias = dict[str, Any]
"""The values of a row by column; the schema of a file says of which types the values are."""
MAX_ROWS = 1 << 20
MAX_BYTES = 8 << 30
"""Largest unpacked size of one reading; some hundred images take a few hundred MiB."""


def read(
    path: Path,
    schema: pa.Schema,
    columns: Sequence[str] = (),
    *,
    group: int | None = None,
    optional: Collection[str] = (),
) -> list[Row]:
    """Read the rows of a file, or of one row group.

    Args:
        path: the file.
        schema: columns of such a file, with `id` among them.
        columns: columns to read; all by default.
        group: number of the row group to read; all by default.
        optional: columns that may hold null.

    Raises:
        InputError: the file is missing, damaged, or does not fit the schema.
    """
    path = filesystem.regular(path)
    names = list(columns) or schema.names
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata, range(file.num_row_groups) if group is None else [group])
            table = file.read(names) if group is None else file.read_row_group(group, names)
        selected = pa.schema([schema.field(name) for name in names])
        rows: list[Row] = table.select(names).cast(selected).to_pylist()
        for row in rows:
            _check(row, optional)
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return rows


def _check_size(meta: pq.FileMetaData, groups: Sequence[int]) -> None:
    """Raise ValueError where row groups claim more than MAX_ROWS or MAX_BYTES."""
    sizes = [meta.row_group(k) for k in groups]
    rows, size = sum(g.num_rows for g in sizes), sum(g.total_byte_size for g in sizes)
    if rows > MAX_ROWS or size > MAX_BYTES:
        raise ValueError(
            f"it claims {rows} rows and {size} bytes; at most {MAX_ROWS} and {MAX_BYTES} are read"
        )


def row_group_sizes(file: ArtifactFile) -> list[int]:
    """Return the number of rows of each row group of a file, which need not be on this machine.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        meta = file.read_head(pq.read_metadata)
        return [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}") from error


def _check(row: Row, optional: Collection[str]) -> None:
    """Raise ValueError where a required value is missing, or InputError for a bad image id."""
    for name, value in row.items():
        if value is None and name not in optional:
            raise ValueError(f"a row has no value in the column {name}")
        if isinstance(value, list) and None in value:
            raise ValueError(f"a row has a list with a missing value in the column {name}")
    check_id(row.get("id", "-"))
