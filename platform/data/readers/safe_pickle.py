"""A reader of pickled `.npy` files of the WSSS community that runs no code from the file.

A pickle is a program. This reader, the only one of the project, runs just the instructions that
rebuild arrays, tensors and built-in containers; it refuses anything else by name before it is
called. Tensors become arrays.

A few bytes of a pickle can request any amount of memory: a tensor that repeats one number, an array
without its values, one text that is decoded a thousand times. So all sizes are checked against the
bytes of the file, and the content of a file is at most twice as large as the file: once its bytes,
which old protocols store as text, and once the arrays made from them.
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
from numpy.typing import NDArray

from ...errors import InputError
from .. import npz

MAX_BYTES = 1 << 30
MAX_STEPS = 1 << 22
"""Largest number of opcodes of a pickle; an array takes about twenty."""
KINDS = "biuf"
"""Kinds of NumPy types that hold numbers."""
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
"""NumPy types of the storages of tensors, by name."""
MAGIC = 0x1950A86A20F9469CFC6C
"""First number of a file that `torch.save` wrote before it wrote zip files."""


def _check_steps(stream: io.BytesIO) -> None:
    """Scan the opcodes of a pickle and return the stream to its start.

    Raises:
        ValueError: the pickle is cut off, has too many opcodes, or requests a larger memo table
            than its size allows.
    """
    start, size = stream.tell(), stream.getbuffer().nbytes
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > size:
            raise ValueError(f"it uses the memo entry {argument}, beyond the size of the file")
        if number > MAX_STEPS:
            raise ValueError(f"it has over {MAX_STEPS} opcodes")
    stream.seek(start)


def _sizes(values: object) -> tuple[int, ...]:
    """Check a shape, strides or an offset and return it as a tuple."""
    if not isinstance(values, tuple | list) or len(values) > 64:
        raise pickle.UnpicklingError("a shape is no list of at most 64 numbers")
    if any(type(v) is not int or v < 0 for v in values):
        raise pickle.UnpicklingError("a shape holds something other than whole numbers from 0 on")
    return tuple(values)


def _dtype(name: object, *_: object) -> np.dtype[np.generic]:
    """Return a copy of a NumPy type, whose byte order the pickle may then set."""
    if not isinstance(name, str) or len(name) > 16:
        raise pickle.UnpicklingError("the name of a type of numbers is no text of up to 16 letters")
    return np.dtype(name, False, True)


def _scalar(dtype: object, data: object) -> object:
    """Return a single number."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in KINDS:
        raise pickle.UnpicklingError(f"a single number has the type {dtype}")
    if not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise pickle.UnpicklingError("a single number has too many or too few bytes for its type")
    return multiarray.scalar(dtype, data)


def _empty_dict(*content: object) -> dict[object, object]:
    """Return the dict that takes the items of an ordered dict."""
    if content:
        raise pickle.UnpicklingError("an ordered dict is made with content, not filled afterwards")
    return {}


def _empty_bytes(*content: object) -> bytes:
    """Return no bytes, which protocol 2 stores as a call."""
    if content:
        raise pickle.UnpicklingError("bytes are made from something else")
    return b""


class _Array(np.ndarray):
    """An array that a pickle fills, within the memory that the reader allows."""

    charge: Callable[[int], None]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, _ = state
        if not isinstance(dtype, np.dtype) or dtype.kind not in f"{KINDS}O":
            raise pickle.UnpicklingError(f"an array holds {dtype}, not numbers")
        self.charge(math.prod(_sizes(shape)) * dtype.itemsize)
        super().__setstate__(state)


class _Names:
    """A stand-in, which cannot be called, for a class that a pickle names as an argument."""


class _StorageReader(pickle.Unpickler):
    """A reader of the pickles that precede the numbers of a tensor."""

    def find_class(self, module: str, name: str) -> object:
        if module != "torch" or name not in STORAGES:
            raise pickle.UnpicklingError(f"a tensor calls {module}.{name}, which is not allowed")
        return STORAGES[name]

    def persistent_load(self, pid: object) -> object:
        return pid


def _storage(data: object) -> NDArray[np.generic]:
    """Read the storage of a tensor, as `torch.storage._load_from_bytes` does.

    It consists of five small pickles, the count of numbers, and the numbers.
    """
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a tensor's numbers are no bytes")
    stream = io.BytesIO(data)
    head = []
    for _ in range(5):
        _check_steps(stream)
        head.append(_StorageReader(stream).load())
    if head[0] != MAGIC or len(head[3]) != 6 or head[3][0] != "storage" or head[3][5] is not None:
        raise pickle.UnpicklingError("a tensor is not stored in the form of torch.save")
    dtype, count = np.dtype(head[3][1]), head[3][4]
    (written,) = struct.unpack("<q", stream.read(8))
    if count != written or len(data) - stream.tell() != count * dtype.itemsize:
        raise pickle.UnpicklingError(f"a tensor claims {count} numbers, but holds more or fewer")
    return np.frombuffer(data, dtype, written, stream.tell())


class _Reader(pickle.Unpickler):
    """A reader of pickles that hold arrays, tensors and built-in containers."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.left = 2 * stream.getbuffer().nbytes
        self.allowed: dict[tuple[str, str], object] = {
            ("numpy", "ndarray"): _Names(),
            ("numpy", "dtype"): _dtype,
            ("collections", "OrderedDict"): _empty_dict,
            ("__builtin__", "bytes"): _empty_bytes,
            ("_codecs", "encode"): self._encoded,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("torch", "Size"): _sizes,
        }
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self.allowed[module, "_reconstruct"] = self._unfilled
            self.allowed[module, "scalar"] = self._scalar_or_text
        for module in ("numpy.core.numeric", "numpy._core.numeric"):
            self.allowed[module, "_frombuffer"] = self._from_buffer

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which is not allowed")
        return self.allowed[module, name]

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("it refers to something outside the file")

    def _charge(self, size: int) -> None:
        """Count memory, in bytes, that the content of the file takes.

        Raises:
            pickle.UnpicklingError: the content takes more memory than the file can hold.
        """
        self.left -= size
        if self.left < 0:
            raise pickle.UnpicklingError("it unfolds to more than the file holds")

    def _scalar_or_text(self, dtype: object, data: object) -> object:
        """Return a single number, or a text of NumPy."""
        if not isinstance(dtype, np.dtype) or dtype.kind != "U":
            return _scalar(dtype, data)
        if not isinstance(data, bytes) or len(data) != dtype.itemsize:
            raise pickle.UnpicklingError("a text has too many or too few bytes for its type")
        self._charge(len(data))
        return str(np.frombuffer(data, dtype)[0]) if data else ""

    def _encoded(self, text: str, encoding: str = "latin1") -> bytes:
        """Return the bytes that protocol 2 stores as text; `_codecs.encode` itself can do more."""
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes are stored in the encoding {encoding}, not latin1")
        self._charge(len(text))
        return text.encode("latin1")

    def _unfilled(self, kind: object, shape: object, code: object) -> _Array:
        """Return an empty array, which its state then fills."""
        if not isinstance(kind, _Names) or _sizes(shape) != (0,):
            raise pickle.UnpicklingError("an array is made with a size, but without values")
        return self._watched(np.empty(0, np.int8))

    def _from_buffer(
        self, data: object, dtype: object, shape: object, order: object, axes: object = None
    ) -> _Array:
        """Return an array as protocol 5 stores it, of bytes in C or Fortran order.

        The order K stands for C order with the axes in another order.
        """
        if not isinstance(data, bytes | bytearray) or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("an array has no bytes or no type of numbers")
        if dtype.kind not in KINDS or math.prod(_sizes(shape)) * dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"an array of {dtype} {shape} has {len(data)} bytes")
        array = np.frombuffer(data, dtype)
        if order == "K" and axes is not None:
            return self._watched(array.reshape(_sizes(shape)).transpose(_sizes(axes)))
        if order not in ("C", "F"):
            raise pickle.UnpicklingError("an array has an unknown order of its numbers")
        return self._watched(array.reshape(_sizes(shape), order=order))

    def _watched(self, array: NDArray[np.generic]) -> _Array:
        out = array.view(_Array)
        out.charge = self._charge
        return out

    def _tensor(
        self, numbers: object, offset: object, size: object, stride: object, *_: object
    ) -> _Array:
        """Return a tensor as an array over its storage."""
        if not isinstance(numbers, np.ndarray):
            raise pickle.UnpicklingError("a tensor has no numbers")
        shape, width = _sizes(size), numbers.dtype.itemsize
        if math.prod(shape) > numbers.size:
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} has only {numbers.size} numbers"
            )
        (start,) = _sizes((offset,))
        steps = tuple(step * width for step in _sizes(stride))
        view = np.ndarray(shape, numbers.dtype, numbers, start * width, steps)
        return self._watched(view)


def load(path: Path) -> object:
    """Read a `.npy` file that holds an array, or a pickle of arrays, tensors and containers.

    Raises:
        InputError: the file is missing, over MAX_BYTES or no `.npy` file, its pickle calls
            anything that is not allowed, or it claims more content than it holds.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path} has over {MAX_BYTES >> 20} MiB; a pickled file must be smaller"
            )
        with path.open("rb") as stream:
            if not npz.read_header(stream)[1].hasobject:
                stream.seek(0)
                return npz.read_array(stream, size)
            content = io.BytesIO(stream.read())
        _check_steps(content)
        value = _Reader(content).load()
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}") from error
    except InputError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(f"{path} is not read: {type(error).__name__}: {error}") from error
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value
