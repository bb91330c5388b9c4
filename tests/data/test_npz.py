"""Tests of NumPy files whose headers claim more than the files hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss.platform.data import npz as data_npz
from wsss.platform.data.readers import safe_pickle
from wsss.platform.errors import InputError

HUGE = ((1 << 33,), (1 << 40, 1 << 40), (10**400,), (-1, -(1 << 40)), (1 << 40, 0, -1))


def npy(shape: tuple[int, ...], kind: str = "<f8", content: bytes = b"") -> bytes:
    out = io.BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    return out.getvalue() + content


def npz(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test as soon as the values of an array are read."""

    def fail(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the values of an array were read")

    monkeypatch.setattr(np.lib.format, "read_array", fail)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("shape", HUGE, ids=str)
@pytest.mark.parametrize("kind", ["<f8", "<U0", "|V0"])
def test_a_header_that_claims_too_much_is_refused(
    tmp_path: Path, shape: tuple[int, ...], kind: str
) -> None:
    (tmp_path / "a.npy").write_bytes(npy(shape, kind, b"eight by"))
    with pytest.raises(InputError, match=r"a\.npy is not read: .*(claims|Exceeds|shape)"):
        safe_pickle.load(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npz is no \.npz .*(claims|Exceeds|shape)"):
        data_npz.read(npz(tmp_path / "a.npz", a=npy(shape, kind, b"eight by")))


@pytest.mark.usefixtures("no_memory")
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_npz, "MAX_BYTES", 1 << 16)
    bomb = npz(tmp_path / "a.npz", a=npy((1 << 20,), "|u1", bytes(1 << 20)))
    assert bomb.stat().st_size < 1 << 13
    with pytest.raises(InputError, match="unpacks to over"):
        data_npz.read(bomb)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_with_a_compression_unknown_to_numpy_is_refused(
    tmp_path: Path, compression: int
) -> None:
    with pytest.raises(InputError, match=r"a\.npy is packed by a method that NumPy does not use"):
        data_npz.read(npz(tmp_path / "a.npz", compression, a=npy((1,), "|u1", b"1")))


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy((1,), "|u1", b"1"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy((1,), "|u1", b"2"))
    with pytest.raises(InputError, match="two arrays of one name"):
        data_npz.read(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read(tmp_path: Path, save: Any) -> None:
    content = {"ids": np.array(["a", "bb"]), "x": np.eye(3).T, "none": np.zeros((0, 4)), "o": 3}
    save(tmp_path / "a.npz", **content)
    arrays = data_npz.read(tmp_path / "a.npz", "ids", "o")
    assert list(arrays) == list(content)
    for name, array in content.items():
        np.testing.assert_array_equal(arrays[name], array)
