"""Tests of Parquet files that claim more than is read at once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wsss.platform.data.formats import parquet
from wsss.platform.errors import InputError

SCHEMA = pa.schema([("id", pa.string()), ("image", pa.binary())])


@pytest.mark.parametrize(("limit", "most"), [("MAX_ROWS", 5), ("MAX_BYTES", 1 << 15)])
def test_a_table_over_the_limit_is_read_by_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    rows = [{"id": f"i{k}", "image": bytes(1 << 12)} for k in range(10)]
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, row_group_size=5, **options)
    assert path.stat().st_size < 1 << 12
    assert len(parquet.read(path, SCHEMA)) == 10
    monkeypatch.setattr(parquet, limit, most)
    assert parquet.read(path, SCHEMA, group=1) == rows[5:]
    with pytest.raises(InputError, match=r"a\.parquet is damaged: it claims 10 rows"):
        parquet.read(path, SCHEMA)
