"""Tests of class map files: maps are read back as they were written."""

from __future__ import annotations

import numpy as np
import pytest
from wsss.platform.data.formats.class_maps import ClassMaps, read, read_in_order, write
from wsss.platform.errors import InputError
from wsss.platform.storage.artifact_files import LocalFolder


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    shapes = [((3, 1), 4, 6), ((7,), 1, 1), ((), 5, 2), ((1, 2, 20), 3, 3)]
    return [
        ClassMaps(
            id=f"image-{k}.{k}_x",
            classes=classes,
            planes=rng.random((len(classes), h, w)).astype(np.float16),
            height=4 * h - 1,
            width=4 * w,
        )
        for k, (classes, h, w) in enumerate(shapes)
    ]


def assert_same(maps, expected):
    assert [m.id for m in maps] == [m.id for m in expected]
    for a, b in zip(maps, expected, strict=True):
        assert (a.classes, a.height, a.width) == (b.classes, b.height, b.width)
        assert a.planes.dtype == np.float16
        assert a.planes.shape == b.planes.shape
        assert a.planes.tobytes() == b.planes.tobytes()


def test_maps_are_read_in_the_order_of_ids_and_a_missing_image_is_named(rows, tmp_path):
    file = LocalFolder(tmp_path) / "a.parquet"
    write(file, rows)
    chosen = [rows[2], rows[0]]
    assert_same(read_in_order(file, [maps.id for maps in chosen]), chosen)
    with pytest.raises(InputError, match=r"image b has no class maps in a\.parquet"):
        read_in_order(file, [rows[0].id, "b"])


def test_maps_are_read_back_in_order(rows, tmp_path):
    write(LocalFolder(tmp_path) / "a.parquet", rows)
    assert_same(list(read([tmp_path / "a.parquet"])), rows)
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_several_files_are_read_in_the_given_order(rows, tmp_path):
    files = [LocalFolder(tmp_path) / "b.parquet", LocalFolder(tmp_path) / "a.parquet"]
    write(files[0], rows[:2])
    write(files[1], rows[2:])
    assert_same(list(read(file.local() for file in files)), rows)


def test_a_file_without_rows_is_read_as_empty(tmp_path):
    write(LocalFolder(tmp_path) / "a.parquet", [])
    assert list(read([tmp_path / "a.parquet"])) == []


def test_wider_floats_are_rounded_to_half_precision(rows, tmp_path):
    planes = np.full((1, 2, 2), 1 / 3)
    row = ClassMaps(id="x", classes=(1,), planes=planes, height=8, width=8)
    write(LocalFolder(tmp_path) / "a.parquet", [row])
    (maps,) = read([tmp_path / "a.parquet"])
    assert (maps.planes == np.float16(1 / 3)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value, tmp_path):
    """They would become labels: the highest of planes with NaN is NaN."""
    planes = np.array([[[0.5, value]]])
    row = ClassMaps(id="x", classes=(1,), planes=planes, height=8, width=8)
    with pytest.raises(InputError, match="the class maps of image x hold NaN or infinite values"):
        write(LocalFolder(tmp_path) / "a.parquet", [row])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(rows, tmp_path):
    def broken():
        yield rows[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(LocalFolder(tmp_path) / "a.parquet", broken())
    assert list(tmp_path.iterdir()) == []
