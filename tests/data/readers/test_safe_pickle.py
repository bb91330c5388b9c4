"""Tests of pickles that claim more memory than they have bytes, and of honest pickles."""

from __future__ import annotations

import collections
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wsss.platform.data.readers import safe_pickle
from wsss.platform.errors import InputError
from wsss.platform.interop import formats

ROOM = 64 << 20
"""Most bytes of memory that reading a file of some kilobytes may take."""


class Call:
    """An object that its pickle makes by calling a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def raw(path: Path, pickled: bytes) -> Path:
    """Write a `.npy` file of an object array with the given pickle."""
    with path.open("wb") as stream:
        about = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, about)
        stream.write(pickled)
    return path


def boxed(path: Path, content: Any, protocol: int = 2) -> Path:
    box = np.empty((), object)
    box[()] = content
    return raw(path, pickle.dumps(box, protocol))


def array(shape: tuple[int, ...], kind: str = "f8", data: bytes = b"") -> Call:
    """Return an object that is pickled as an array of this shape, type and data."""
    rebuild = np._core.multiarray._reconstruct
    state = (1, shape, np.dtype(kind), False, data)
    return Call(rebuild, np.ndarray, (0,), b"b", state=state)


def storage(count: int) -> bytes:
    """Return the pickled storage of a tensor that claims to hold `count` numbers."""
    data: bytes = torch.zeros(3).storage().__reduce__()[1][0]
    assert b"K\x03Nt" in data
    return data.replace(b"K\x03Nt", b"J" + count.to_bytes(4, "little") + b"Nt")


def laughs() -> Any:
    """Return a billion numbers in lists that share their members."""
    out: Any = [0.5] * 10
    for _ in range(8):
        out = [out] * 10
    return out


TEXT = "a" * (1 << 16)
STATE = (1, (1 << 16,), np.dtype("u1"), False, bytes(1 << 16))
EXPANDED = torch.zeros(1).expand(40_000, 40_000)
REBUILD = np._core.multiarray._reconstruct
HOSTILE = {
    "expanded tensor": lambda: EXPANDED,
    "expanded tensor as planes": lambda: {"keys": [0], "high_res": EXPANDED},
    "called array": lambda: Call(np.ndarray, (1 << 33,), "u1"),
    "array without values": lambda: Call(REBUILD, np.ndarray, (1 << 33,), b"b"),
    "array of nothing": lambda: array((1 << 40,), "V0"),
    "array of empty texts": lambda: {"keys": array((1 << 30,), "U0")},
    "scalar without bytes": lambda: Call(np._core.multiarray.scalar, np.dtype("V1000000000")),
    "named claims": lambda: Call(torch.storage._load_from_bytes, storage(1 << 30)),
    "one text many times": lambda: [Call(_encode(), TEXT, "latin1") for _ in range(4096)],
    "one state many times": lambda: [
        Call(REBUILD, np.ndarray, (0,), b"b", state=STATE) for _ in range(4096)
    ],
    "one text of NumPy many times": lambda: [
        Call(np._core.multiarray.scalar, np.dtype("U16384"), WIDE) for _ in range(4096)
    ],
    "filled dict": lambda: [Call(collections.OrderedDict, PAIRS) for _ in range(4096)],
    "long type": lambda: [Call(np.dtype, KIND, False, True) for _ in range(4096)],
}
WIDE = ("\U0001f408" * (1 << 14)).encode("utf-32-le")
PAIRS = [(k, k) for k in range(4096)]
KIND = ",".join(["f4"] * 4096)


def _encode() -> Any:
    import _codecs

    return _codecs.encode


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_claims_too_much_memory_is_refused(tmp_path: Path, name: str) -> None:
    path = boxed(tmp_path / "a.npy", HOSTILE[name]())
    assert path.stat().st_size < 1 << 20
    assert_refused_within(ROOM, path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8e" + (1 << 33).to_bytes(8, "little") + b"abc.",  # BINBYTES8
        b"\x80\x05\x96" + (1 << 33).to_bytes(8, "little") + b"abc.",  # BYTEARRAY8
        b"\x80\x04\x8d" + (1 << 33).to_bytes(8, "little") + b"abc.",  # BINUNICODE8
        b"\x80\x04\x95" + (1 << 33).to_bytes(8, "little") + b"N.",  # FRAME
        b"\x80\x02NrX\xff\xff\x0f.",  # LONG_BINPUT of number 2^28
        b"Np268435456\n.",  # PUT
        b"I" + b"9" * 9000 + b"\n.",
        b"L" + b"9" * 9000 + b"L\n.",
    ],
)
def test_an_opcode_that_claims_too_much_memory_is_refused(tmp_path: Path, pickled: bytes) -> None:
    assert_refused_within(ROOM, raw(tmp_path / "a.npy", pickled))


def assert_refused_within(room: int, path: Path) -> None:
    """Assert that reading a file is refused and takes less than `room` bytes of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.npy is not? "):
            formats.read("irn", path, "a", (0,), (45, 62), 3)
        assert tracemalloc.get_traced_memory()[1] < room
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("irn", lambda: {"keys": [0], "high_res": laughs()}),
        ("irn", lambda: {"keys": laughs(), "high_res": np.zeros((1, 45, 62))}),
        ("irn", lambda: {"keys": list(range(999)), "high_res": np.zeros((1, 45, 62))}),
        ("irn", lambda: {"keys": [0], "high_res": np.zeros((1, 2000, 2000), bool)}),
        ("mctformer", lambda: dict.fromkeys(range(10**5), np.zeros((45, 62), np.float32))),
        ("drs", lambda: np.zeros((3, 3000, 3000), bool)),
        ("msc-seg", lambda: {"msc_seg": np.zeros((1, 4, 1500, 1500), np.float16)}),
    ],
)
def test_planes_beyond_the_image_are_refused_before_they_are_converted(
    tmp_path: Path, kind: str, content: Callable[[], Any]
) -> None:
    path = boxed(tmp_path / "a.npy", content(), 4)
    with pytest.raises(InputError, match=f"is no {kind} file of a"):
        formats.read(kind, path, "a", (0,), (45, 62), 3)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_tensors_of_all_kinds_are_read_back(tmp_path: Path, protocol: int) -> None:
    wide = torch.arange(24).reshape(2, 3, 4)
    tensors = {str(t): wide.to(t) for t in (torch.float16, torch.float32, torch.float64)}
    tensors |= {str(t): wide.to(t) for t in (torch.int64, torch.int32, torch.int16, torch.int8)}
    tensors |= {"view": wide[:, 1:, ::2], "turned": wide.transpose(0, 2), "bool": wide > 3}
    tensors |= {"one": torch.tensor(1.5), "none": torch.zeros(0, 3), "byte": wide.byte()}
    tensors["learnt"] = torch.ones(2, requires_grad=True)
    arrays = {"f": np.arange(6.0).reshape(2, 3), "t": np.arange(6).reshape(2, 3).T, "b": np.eye(2)}
    arrays |= {"swapped": np.arange(3, dtype=">i4"), "scalar": np.float32(1.5)}
    arrays |= {"axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2), "empty": np.zeros((0, 3))}
    content = collections.OrderedDict({**tensors, **arrays, "list": [1, None, (2.5, "x")]})
    loaded = safe_pickle.load(boxed(tmp_path / "a.npy", content, protocol))
    assert list(loaded) == list(content)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(loaded[name], tensor.detach().numpy())
        assert loaded[name].dtype == tensor.detach().numpy().dtype
    for name, value in arrays.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert np.shape(loaded[name]) == value.shape
    assert loaded["list"] == [1, None, (2.5, "x")]


@pytest.mark.parametrize("protocol", [2, 5])
def test_texts_of_numpy_are_read_as_texts(tmp_path: Path, protocol: int) -> None:
    texts = [np.str_("2007_000032"), np.str_("\u00e9\U0001f408"), np.str_("")]
    loaded = safe_pickle.load(boxed(tmp_path / "a.npy", texts, protocol))
    assert loaded == ["2007_000032", "\u00e9\U0001f408", ""]
    assert {type(text) for text in loaded} == {str}


FROM_BUFFER = np._core.numeric._frombuffer
ODD_BUFFERS = {
    "more numbers than bytes": (b"1234", np.dtype("f4"), (1 << 40,), "C"),
    "no bytes": ("1234", np.dtype("u1"), (4,), "C"),
    "objects": (bytes(8), np.dtype("O"), (1,), "C"),
    "numbers without bytes": (b"", np.dtype("V0"), (1 << 40,), "C"),
    "a name as type": (b"1234", "u1", (4,), "C"),
    "an unknown order": (b"1234", np.dtype("u1"), (2, 2), "A"),
    "unknown axes": (b"1234", np.dtype("u1"), (2, 2), "K", (0, 7)),
    "bytes of a number": (Call(bytes, 1 << 40), np.dtype("u1"), (4,), "C"),
    "a shape without end": (b"1234", np.dtype("u1"), (-1,), "C"),
}


@pytest.mark.parametrize("name", ODD_BUFFERS)
def test_an_odd_array_of_protocol_5_is_refused(tmp_path: Path, name: str) -> None:
    path = boxed(tmp_path / "a.npy", {"keys": Call(FROM_BUFFER, *ODD_BUFFERS[name])}, 5)
    assert_refused_within(ROOM, path)


def test_a_pickle_does_not_change_a_number_type_of_the_process(tmp_path: Path) -> None:
    swapped = Call(np.dtype, "f4", False, False, state=(3, ">", None, None, None, -1, -1, 0))
    safe_pickle.load(boxed(tmp_path / "a.npy", [swapped]))
    assert np.dtype("f4").isnative
