"""Fuzz tests of pickled class maps and weight files that are damaged or malicious."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import tracemalloc
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import altered, attempt, damaged, fuzz, values
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from wsss.platform.data.readers import safe_pickle
from wsss.platform.interop import formats
from wsss.platform.interop.formats import FORMATS
from wsss.platform.models import weights

SIZE, LABELS, CLASSES = (8, 12), (0, 2), 3
ONE = np.full(SIZE, 0.5, np.float32)


def contents(kind: str) -> Any:
    """Return the content of a file of two classes."""
    planes = np.stack([ONE] * (2 + FORMATS[kind].background))
    if FORMATS[kind].probabilities:
        planes = np.full((CLASSES + 1, *SIZE), 0.25, np.float32)
    if FORMATS[kind].square:
        square = np.zeros((CLASSES, 16, 16), np.uint8)
        square[list(LABELS)] = 9
        return square
    return FORMATS[kind].write(list(LABELS), planes)


def numpy_file(content: Any, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    if isinstance(content, np.ndarray) and content.dtype != object:
        np.save(out, content)
        return out.getvalue()
    array = np.empty((), object)
    array[()] = content
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
    pickle.dump(array, out, protocol)
    return out.getvalue()


@cache
def valid(kind: str) -> tuple[bytes, ...]:
    """Return files by two protocols, made once because the names of storages in them vary."""
    return tuple(numpy_file(contents(kind), protocol) for protocol in (2, 4))


def read(path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = attempt(formats.read, kind, path, "a", LABELS, SIZE, CLASSES)
    if maps is not None:
        assert maps.planes.dtype == np.float16
        assert len(maps.planes) == len(maps.classes)
        assert 0 <= maps.planes.min() <= maps.planes.max() <= 1


@pytest.mark.parametrize("kind", FORMATS)
def test_an_undamaged_file_is_read(given_folder: Path, kind: str) -> None:
    path = given_folder / "a.npy"
    path.write_bytes(numpy_file(contents(kind)))
    assert len(formats.read(kind, path, "a", LABELS, SIZE, CLASSES).planes) >= 2


@pytest.mark.parametrize("kind", FORMATS)
@fuzz(20)
@given(data=st.data())
def test_damage_is_read_or_refused(given_folder: Path, kind: str, data: st.DataObject) -> None:
    path = given_folder / "a.npy"
    path.write_bytes(data.draw(damaged(*valid(kind))))
    read(path, kind)


def with_lists(content: Any) -> Any:
    """Return content with lists in place of arrays, so that it can be altered."""
    if isinstance(content, dict):
        return {k: with_lists(v) for k, v in content.items()}
    return content[:, ::4, ::6].tolist() if content.ndim == 3 else content.tolist()


def with_arrays(content: Any) -> Any:
    """Return content with arrays in place of lists that form one."""
    if isinstance(content, dict):
        return {k: with_arrays(v) for k, v in content.items()}
    try:
        return np.array(content)
    except (ValueError, OverflowError):
        return content


@pytest.mark.parametrize("kind", FORMATS)
@fuzz(20)
@given(data=st.data())
def test_altered_labels_in_pickles_are_read_or_refused(
    given_folder: Path, kind: str, data: st.DataObject
) -> None:
    content = data.draw(altered(with_lists(contents(kind))) | values)
    path = given_folder / "a.npy"
    path.write_bytes(numpy_file(with_arrays(content) if data.draw(st.booleans()) else content))
    read(path, kind)


@pytest.mark.parametrize("keys", [None, [None, 2], 3, "ab", [10**400], [[0], [2]]])
def test_malformed_keys_are_refused(given_folder: Path, keys: Any) -> None:
    path = given_folder / "a.npy"
    path.write_bytes(numpy_file({**contents("irn"), "keys": keys}))
    assert attempt(formats.read, "irn", path, "a", LABELS, SIZE, CLASSES) is None


OPCODES = [
    bytes([c]) for c in b"(.012FIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x87\x88\x89"
] + [
    b"cos\nsystem\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cbuiltins\neval\n",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n",
    b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch.storage\n_load_from_bytes\n", b"ctorch\nSize\n", b"K\x01", b"M\xff\xff",
    b"J\xff\xff\xff\x7f", b"U\x05hello", b"X\x06\0\0\0latin1",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"touch escaped\n", b"rX\xff\xff\x0f", b"p268435456\n", b"I" + b"9" * 9000 + b"\n",
    *(code + (1 << 33).to_bytes(8, "little") for code in (b"\x8e", b"\x95", b"\x96")),
    b"U\x02O8", b"U\x02f8", b"K\0K\0\x86",
    b"NNNJ\xff\xff\xff\xff", b"tb", b"tR",
]  # fmt: skip


@fuzz(75)
@given(st.lists(st.sampled_from(OPCODES), max_size=25))
def test_any_opcodes_are_read_or_refused(given_folder: Path, opcodes: list[bytes]) -> None:
    path = given_folder / "a.npy"
    head = numpy_file({})
    path.write_bytes(head[: head.index(b"\n") + 1] + b"\x80\x02" + b"".join(opcodes) + b".")
    attempt(safe_pickle.load, path)


class Call:
    """Object that a pickle makes by a call and fills with a state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


lengths = st.lists(
    st.sampled_from((0, 1, 2, 8, 12, 40_000, 1 << 31, 1 << 40, -1, 10**30)), max_size=3
)
kinds = st.sampled_from(("f4", "f8", "u1", "O", "U0", "V0", "V999999999", "f4," * 999))
REBUILD = np._core.multiarray._reconstruct


def array_of(shape: list[int], kind: str, data: Any) -> Any:
    """Return an array whose shape and bytes need not fit each other."""
    try:
        state = (1, tuple(shape), np.dtype(kind), False, data)
    except ValueError:
        return None
    return Call(REBUILD, (np.ndarray, (0,), b"b"), state)


def tensor_of(count: int, offset: int, size: list[int], stride: list[int]) -> Any:
    """Return a tensor whose numbers, sizes and strides need not fit each other."""
    rebuild, (storage, *_) = torch.zeros(count).__reduce_ex__(2)
    hooks = collections.OrderedDict()  # type: ignore[var-annotated]
    return Call(rebuild, (storage, offset, tuple(size), tuple(stride), False, hooks))


claims = (
    st.builds(array_of, lengths, kinds, st.binary(max_size=40) | st.lists(st.none(), max_size=3))
    | st.builds(tensor_of, st.integers(0, 96), st.sampled_from((0, 1, 1 << 40)), lengths, lengths)
    | st.builds(lambda shape: Call(np.ndarray, (tuple(shape), "u1")), lengths)
    | st.builds(lambda shape: Call(REBUILD, (np.ndarray, tuple(shape), b"b")), lengths)
    | st.builds(lambda kind: Call(np.dtype, (kind, False, True)), kinds)
)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("kind", FORMATS)
@fuzz(30)
@given(data=st.data())
def test_claimed_sizes_take_no_memory(given_folder: Path, kind: str, data: st.DataObject) -> None:
    """Readers allocate no more than the bytes of the file and the pixels of the image need."""
    content = contents(kind)
    if isinstance(content, dict):
        content[data.draw(st.sampled_from(list(content)))] = data.draw(claims)
    else:
        content = data.draw(claims)
    path = given_folder / "a.npy"
    path.write_bytes(numpy_file(content))
    tracemalloc.start()
    try:
        read(path, kind)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


STATE = collections.OrderedDict(
    (f"module.layer{k}.weight", torch.full((2, 3), float(k))) for k in range(2)
)


def torch_file(content: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def mxnet_file(state: dict[str, torch.Tensor]) -> bytes:
    """Return a file of MXNet's named arrays with two dimensions each."""
    out = struct.pack("<QQQ", 0x112, 0, len(state))
    for value in state.values():
        out += struct.pack("<IiI2q3i", 0xF993FAC9, 0, 2, *value.shape, 1, 0, 0)
        out += value.numpy().tobytes()
    out += struct.pack("<Q", len(state))
    return out + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in state)


LAYER = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
EMA = {"teacher": {f"net.{k}": v.half() for k, v in LAYER.items()}, "best": np.float64(0.5)}
WEIGHTS = (
    torch_file(STATE),
    torch_file({"state_dict": STATE}),
    torch_file(STATE, _use_new_zipfile_serialization=False),
    torch_file(EMA, _use_new_zipfile_serialization=False),
    torch_file({"model": {k: v.numpy() for k, v in LAYER.items()}}),
    save(LAYER),
    mxnet_file({"arg:weight": LAYER["weight"]}),
)


@fuzz(60)
@given(damaged(*WEIGHTS))
def test_damaged_weights_are_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "a.pth"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.nn.Linear(3, 2)
        attempt(weights.load, layer, path, "a network", "")
    assert layer.weight.shape == (2, 3)
    assert torch.isfinite(layer.weight).all()


@fuzz(30)
@given(
    values
    | st.dictionaries(
        st.sampled_from(("weight", "bias", "classifier.a", "state_dict", "a.weight", "a.bias"))
        | st.integers(),
        st.sampled_from(
            (torch.ones(2, 3), torch.ones(2), torch.tensor(1), None, {}, "a", LAYER, EMA)
        ),
    )
)
def test_weights_of_other_content_are_read_or_refused(given_folder: Path, content: Any) -> None:
    path = given_folder / "a.pth"
    try:
        path.write_bytes(torch_file(content))
    except (UnicodeError, OverflowError):
        return
    layer = torch.nn.Linear(3, 2)
    attempt(weights.load, layer, path, "a network")
    assert layer.weight.shape == (2, 3)


@fuzz(30)
@given(damaged(torch_file({"network": STATE, "epoch": 1, "step": 2})))
def test_a_damaged_checkpoint_is_read_or_refused(given_folder: Path, data: bytes) -> None:
    path = given_folder / "state.pt"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt(weights.read_torch_file, path)
