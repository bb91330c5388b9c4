"""The one place that reads pickles: `.npy` files of the WSSS community, by an allow-list.

A pickle is a program. This reader runs none of it but what rebuilds arrays, tensors and plain
containers; anything else is refused by name before it is called. Tensors become arrays.

A few bytes of a pickle can ask for any amount of memory: a tensor that repeats one number, an array
without its values, one text that is decoded a thousand times. So what sizes say is checked against
the bytes that are there, and all that a file unfolds to is at most twice as large as the file: once
its bytes, which old protocols keep as text, and once the arrays made of them.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from ..data import npz
from ..errors import InputError

MAX_BYTES = 1 << 30
MAX_STEPS = 1 << 22
"""Opcodes of a pickle; an array takes about twenty."""
KINDS = "biuf"
"""Kinds of NumPy's types that hold numbers."""
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
"""NumPy's types of what tensors keep their numbers in."""
MAGIC = 0x1950A86A20F9469CFC6C
"""The first number of what `torch.save` wrote before it wrote zip files."""


def _check_steps(stream: io.BytesIO) -> None:
    """Looks through the opcodes of a pickle, and goes back to its start.

    Raises:
        ValueError: it is cut off, has too many opcodes, or makes room for more memory than it has
            bytes to fill it with.
    """
    start, size = stream.tell(), stream.getbuffer().nbytes
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > size:
            raise ValueError(f"it remembers something as number {argument}")
        if number > MAX_STEPS:
            raise ValueError(f"it has over {MAX_STEPS} opcodes")
    stream.seek(start)


def _sizes(values: Any) -> tuple[int, ...]:
    """A shape, strides, or a place."""
    if not isinstance(values, tuple | list) or len(values) > 64:
        raise pickle.UnpicklingError("a shape is no list of at most 64 numbers")
    if any(type(v) is not int or v < 0 for v in values):
        raise pickle.UnpicklingError("a shape holds something else than numbers from 0 on")
    return tuple(values)


def _dtype(name: Any, *_: Any) -> np.dtype[Any]:
    """A type of NumPy's, always a copy of its own, which then can be given another byte order."""
    if not isinstance(name, str) or len(name) > 16:
        raise pickle.UnpicklingError("a type of numbers has no name of at most 16 characters")
    return np.dtype(name, False, True)


def _scalar(dtype: Any, data: Any) -> Any:
    """A single number."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in KINDS:
        raise pickle.UnpicklingError(f"a number is of type {dtype}")
    if not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise pickle.UnpicklingError("a number has not the bytes of its type")
    return multiarray.scalar(dtype, data)


def _empty_dict(*content: Any) -> dict[Any, Any]:
    """What an ordered dict is read into."""
    if content:
        raise pickle.UnpicklingError("an ordered dict is made of something")
    return {}


class _Array(np.ndarray):
    """An array that a pickle fills, as far as its reader allows."""

    charge: Callable[[int], None]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, _ = state
        if not isinstance(dtype, np.dtype) or dtype.kind not in f"{KINDS}O":
            raise pickle.UnpicklingError(f"an array holds {dtype}, not numbers")
        self.charge(math.prod(_sizes(shape)) * dtype.itemsize)
        super().__setstate__(state)


class _Names:
    """Stands for a class that a pickle names as an argument; it cannot be called."""


class _StorageReader(pickle.Unpickler):
    """Reads what stands before the numbers of a tensor."""

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in STORAGES:
            raise pickle.UnpicklingError(f"a tensor's numbers ask for {module}.{name}")
        return STORAGES[name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _storage(data: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """The numbers of a tensor, which `torch.storage._load_from_bytes` reads: five small pickles,
    how many numbers there are, and the numbers."""
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a tensor's numbers are no bytes")
    stream = io.BytesIO(data)
    head = []
    for _ in range(5):
        _check_steps(stream)
        head.append(_StorageReader(stream).load())
    if head[0] != MAGIC or len(head[3]) != 6 or head[3][0] != "storage" or head[3][5] is not None:
        raise pickle.UnpicklingError("a tensor's numbers are not as torch.save writes them")
    dtype, count = np.dtype(head[3][1]), head[3][4]
    (written,) = struct.unpack("<q", stream.read(8))
    if count != written or len(data) - stream.tell() != count * dtype.itemsize:
        raise pickle.UnpicklingError(f"a tensor claims {count} numbers and has others")
    return np.frombuffer(data, dtype, written, stream.tell())


class _Reader(pickle.Unpickler):
    """Reads a pickle that may hold arrays, tensors and plain containers."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.left = 2 * stream.getbuffer().nbytes
        self.allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): _Names(),
            ("numpy", "dtype"): _dtype,
            ("collections", "OrderedDict"): _empty_dict,
            ("_codecs", "encode"): self._encoded,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("torch", "Size"): _sizes,
        }
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self.allowed[module, "_reconstruct"] = self._unfilled
            self.allowed[module, "scalar"] = _scalar

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")

    def _charge(self, size: int) -> None:
        """Takes note that so many bytes are made of the file.

        Raises:
            pickle.UnpicklingError: that is more than what it holds.
        """
        self.left -= size
        if self.left < 0:
            raise pickle.UnpicklingError("it unfolds to more than the file holds")

    def _encoded(self, text: str, encoding: str = "latin1") -> bytes:
        """What protocol 2 stores bytes by; `_codecs.encode` itself can do more."""
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"encoding {encoding}")
        self._charge(len(text))
        return text.encode("latin1")

    def _unfilled(self, kind: Any, shape: Any, code: Any) -> _Array:
        """An array of nothing, which its state fills."""
        if not isinstance(kind, _Names) or _sizes(shape) != (0,):
            raise pickle.UnpicklingError("an array is made without its values")
        return self._watched(np.empty(0, np.int8))

    def _watched(self, array: np.ndarray[Any, np.dtype[Any]]) -> _Array:
        out = array.view(_Array)
        out.charge = self._charge
        return out

    def _tensor(self, numbers: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Array:
        """A tensor, as an array over the numbers that it keeps."""
        if not isinstance(numbers, np.ndarray):
            raise pickle.UnpicklingError("a tensor has no numbers")
        shape, width = _sizes(size), numbers.dtype.itemsize
        if math.prod(shape) > numbers.size:
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} is made of {numbers.size} numbers"
            )
        (start,) = _sizes((offset,))
        steps = tuple(step * width for step in _sizes(stride))
        view = np.ndarray(shape, numbers.dtype, numbers, start * width, steps)
        return self._watched(view)


def load(path: Path) -> Any:
    """The object in a `.npy` file: an array, or what a pickle of arrays and tensors holds.

    Raises:
        InputError: there is no such file, it is too large, it is no `.npy`, its pickle asks for
            anything but arrays, tensors and plain containers, or it claims more than it holds.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path} has over {MAX_BYTES >> 20} MiB; class maps are smaller")
        with path.open("rb") as stream:
            if not npz.header(stream)[1].hasobject:
                stream.seek(0)
                return npz.plain(stream, size)
            content = io.BytesIO(stream.read())
        _check_steps(content)
        found = _Reader(content).load()
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}") from error
    except InputError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(f"{path} is not read: {type(error).__name__}: {error}") from error
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
