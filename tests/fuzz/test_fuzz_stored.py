"""Fuzz tests of damaged files of a store: tables of images, maps and planes, features, counts."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import altered, attempt, damaged, fuzz, odd, put, scalars, texts
from hypothesis import example, given
from hypothesis import strategies as st
from wsss.platform.data.formats import class_maps, features, label_maps, prototype_patches, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.prototype_patches import Patch
from wsss.platform.data.images import encode_png
from wsss.platform.data.names import check_id
from wsss.platform.records import progress_file
from wsss.platform.stages.labels import scoring
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.artifact_files import LocalFolder

MASK = encode_png(np.array([[0, 1, 255]] * 2, np.uint8))
SHARD = [
    {
        "id": f"i{k}",
        "image": MASK,
        "height": 2,
        "width": 3,
        "labels": [0, k],
        "mask": MASK if k else None,
        "parts": None,
        "superpixels": None,
        "split": "train",
    }
    for k in range(3)
]
MAPS = [
    ClassMaps(id="a", classes=(1, 3), planes=np.ones((2, 2, 3), np.float16), height=8, width=9),
    ClassMaps(id="b", classes=(), planes=np.ones((0, 1, 1), np.float16), height=1, width=2),
]
PATCHES = [
    Patch(id=id, value=k, number=3, kind="context", cosine=0.5, y=0.25, x=1.0)
    for k, id in enumerate("ab")
]
PLANES = [("a", np.eye(3, dtype=np.uint8)), ("b", np.ones((2, 1), np.uint8))]


def table(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out, row_group_size=2)
    return out.getvalue()


def bytes_written(folder: Path, write: Any, rows: Any) -> bytes:
    write(LocalFolder(folder) / "valid.parquet", rows)
    return (folder / "valid.parquet").read_bytes()


@pytest.fixture(scope="module")
def valid(given_folder: Path) -> dict[str, bytes]:
    return {
        "shards": table(SHARD, shards.SCHEMA),
        "maps": bytes_written(given_folder, class_maps.write, MAPS),
        "planes": bytes_written(given_folder, label_maps.write, PLANES),
        "patches": bytes_written(given_folder, prototype_patches.write, PATCHES),
    }


def slice_of(path: Path) -> shards.Slice:
    return shards.Slice(LocalFolder(path.parent) / path.name, 0, 2)


def read_shards(path: Path) -> None:
    for columns in (shards.TRAINING_COLUMNS, shards.INFERENCE_COLUMNS, scoring.COLUMNS):
        for row in attempt(shards.read, slice_of(path), columns) or []:
            assert set(row) == set(columns)
            check_id(row["id"])


def read_maps(path: Path) -> None:
    for maps in attempt(lambda: list(class_maps.read([path]))) or []:
        check_id(maps.id)
        assert maps.planes.shape[0] == len(maps.classes)
        assert maps.height > 0
        assert maps.width > 0


def read_planes(path: Path) -> None:
    for id, plane in (attempt(label_maps.read, path) or {}).items():
        check_id(id)
        assert plane.ndim == 2


def read_patches(path: Path) -> None:
    for patch in attempt(prototype_patches.read, path) or []:
        check_id(patch.id)
        assert isinstance(patch.cosine, float)


READERS = {
    "shards": read_shards,
    "maps": read_maps,
    "planes": read_planes,
    "patches": read_patches,
}


@pytest.mark.parametrize("kind", READERS)
def test_undamaged_tables_are_read(valid: dict[str, bytes], given_folder: Path, kind: str) -> None:
    path = given_folder / f"{kind}.parquet"
    put(path, valid[kind])
    if kind == "shards":
        assert len(shards.read(slice_of(path), ("id",))) == 2
    elif kind == "maps":
        assert len(list(class_maps.read([path]))) == 2
    elif kind == "patches":
        assert prototype_patches.read(path) == PATCHES
    else:
        assert len(label_maps.read(path)) == 2


@pytest.mark.parametrize("kind", READERS)
@fuzz(25)
@given(data=st.data())
def test_a_damaged_table_is_read_or_refused(
    valid: dict[str, bytes], given_folder: Path, kind: str, data: st.DataObject
) -> None:
    path = given_folder / f"{kind}.parquet"
    put(path, data.draw(damaged(valid[kind]) | odd))
    READERS[kind](path)


ROWS: dict[str, list[dict[str, Any]]] = {
    "shards": SHARD,
    "maps": [class_maps._encode(m) for m in MAPS],
    "planes": [{"id": "a", "plane": MASK}, {"id": "b", "plane": MASK}],
    "patches": [dataclasses.asdict(p) for p in PATCHES],
}


@pytest.mark.parametrize("kind", READERS)
@fuzz(30)
@given(data=st.data())
def test_tables_with_altered_rows_are_read_or_refused(
    given_folder: Path, kind: str, data: st.DataObject
) -> None:
    """Columns have other types or are absent, values are out of range, rows are repeated."""
    rows = data.draw(altered(ROWS[kind]))
    try:
        content = table(rows)
    except (pa.ArrowException, LookupError, TypeError, AttributeError, OverflowError, ValueError):
        return  # not a table
    path = given_folder / f"{kind}.parquet"
    put(path, content)
    READERS[kind](path)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


FEATURE_ROWS = [
    {"id": "a", "labels": [0, 2], "height": 8, "width": 9, "offset": 0, "grids": [[2, 3], [1, 1]]}
]


@fuzz(30)
@given(altered(FEATURE_ROWS).map(encoded) | odd)
@example(encoded([{**FEATURE_ROWS[0], "id": "../../a"}]))
def test_feature_rows_are_read_or_refused(given_folder: Path, content: bytes | str) -> None:
    path = given_folder / "a.json"
    put(path, content)
    for place in attempt(features.read_feature_rows, path) or []:
        check_id(place.id)
        place.raw(np.zeros((9, 4), np.float16))
        list(place.scales(np.zeros((9, 4), np.float16)))


def saved(save: Any, *arrays: Any, **kwargs: Any) -> bytes:
    out = io.BytesIO()
    save(out, *arrays, **kwargs)
    return out.getvalue()


@fuzz(30)
@given(damaged(saved(np.save, np.ones((6, 4), np.float16))) | odd)
@example(b"")
def test_damaged_features_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "a.npy"
    put(path, data)
    rows = attempt(features.open_features, path)
    assert rows is None or (rows.ndim == 2 and rows.dtype == np.float16)


EMPTY = scoring.Tally.empty(3)
COUNTS = saved(np.savez, curve=EMPTY.curve.counts, parts=EMPTY.parts, boundary=EMPTY.boundary.sums)
CENTERS = saved(np.savez, **{"0-0": np.ones((2, 4), np.float32), "2-1": np.ones((1, 4))})


@fuzz(30)
@given(damaged(COUNTS) | odd)
@example(b"")
def test_damaged_counts_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "counts.npz"
    put(path, data)
    tally = attempt(scoring.read_tally, path, 3)
    assert tally is None or tally.curve.counts.shape == EMPTY.curve.counts.shape


@fuzz(30)
@given(damaged(CENTERS) | odd | st.tuples(texts, texts).map(lambda n: renamed_centers(*n)))
@example(b"")
def test_damaged_centres_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "centers.npz"
    put(path, data)
    for n, centers in (attempt(clustering.read_centers, path) or {}).items():
        assert n >= 0
        assert centers.foreground.shape[1] == centers.context.shape[1]


def renamed_centers(first: str, second: str) -> bytes:
    """Return an archive whose arrays have other names."""
    try:
        return saved(np.savez, **{f"{first}-{second}": np.ones((2, 4)), second: np.ones(3)})
    except (UnicodeError, ValueError, TypeError):
        return CENTERS


METRICS = b"".join(b'{"epoch": 0, "step": %d, "loss": 1.5, "steps": 4}\n' % k for k in range(2))


@fuzz(30)
@given(damaged(METRICS) | odd | scalars.map(lambda v: json.dumps({"step": v}).encode()))
@example(b"\x80}")
@example(b'{"step": -1}')
@example(b"\0" * 40 + b"}\n" + METRICS)
def test_damaged_metrics_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "metrics.jsonl"
    put(path, data)
    for row in attempt(progress_file.read_metrics, LocalFolder(path.parent) / path.name) or []:
        assert row["step"] >= 0
        assert f"{row['epoch'] + 1} {row['loss']:.3f} {row['steps']}"
