"""Reading of MXNet's `.params` files, which are lists of named arrays.

All numbers are little-endian. A file holds 0x112 and 0, 8 bytes each; the count of arrays, 8 bytes;
the arrays; the count of names, 8 bytes; each name after its length, 8 bytes. An array begins with
4 bytes that say how its sizes follow: one of VERSIONS with the kind of storage (0: dense) after it,
or VERSION_1, each before the number of sizes, 4 bytes, and sizes of 8 bytes; or the number of sizes
itself before sizes of 4 bytes. Then come the device, 8 bytes, the number of the type, and values.
Source: NDArray::Save and LegacyLoad of MXNet's ndarray.cc.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError

VERSION_1, VERSIONS = 0xF993FAC8, (0xF993FAC9, 0xF993FACA)
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
"""NumPy's names of MXNet's types, by their numbers."""
MOST_SIZES = 8
"""Largest number of dimensions of an array."""


class _Bytes:
    """The bytes of a file, read from front to back.

    Args:
        data: the bytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: the file ends before.
        """
        if size > len(self.data) - self.position:
            raise ValueError("it is cut off")
        self.position += size
        return self.data[self.position - size : self.position]

    def numbers(self, form: str) -> tuple[int, ...]:
        """Return the next numbers, in the form of the module `struct`."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))


def read_mxnet_file(path: str | Path) -> dict[str, Tensor]:
    """Read the arrays of a `.params` file, by name without its `arg:` or `aux:`.

    Raises:
        InputError: the file is damaged, or holds sparse arrays or types that torch lacks.
    """
    content = _Bytes(Path(path).read_bytes())
    try:
        _, _, count = content.numbers("QQQ")
        arrays = []
        for _ in range(count):
            arrays.append(_array(content))
        (named,) = content.numbers("Q")
        if named != count:
            raise ValueError(f"it has {named} names for {count} arrays")
        names = [content.take(content.numbers("Q")[0]).decode() for _ in range(count)]
    except ValueError as error:
        raise InputError(f"{path} is not read as an MXNet file: {error}") from error
    short = [name.removeprefix("arg:").removeprefix("aux:") for name in names]
    return dict(zip(short, arrays, strict=True))


def _array(content: _Bytes) -> Tensor:
    (start,) = content.numbers("I")
    size = "q"
    if start in VERSIONS:
        (storage,) = content.numbers("i")
        if storage:
            raise ValueError("it holds a sparse array")
    if start in (VERSION_1, *VERSIONS):
        (dimensions,) = content.numbers("I")
    else:
        dimensions, size = start, "I"
    if dimensions > MOST_SIZES:
        raise ValueError(f"it holds an array of {dimensions} dimensions")
    shape = content.numbers(size * dimensions)
    if not dimensions:
        return torch.zeros(0)
    *_, type_number = content.numbers("iii")
    if min(shape) < 0 or not 0 <= type_number < len(TYPES):
        raise ValueError(f"it holds an array of shape {shape} and type number {type_number}")
    kind = np.dtype(TYPES[type_number])
    data = content.take(math.prod(shape) * kind.itemsize)
    return torch.from_numpy(np.frombuffer(data, kind).reshape(shape).copy())
