"""Masks of SBD as they are downloaded: MATLAB files with the structure GTcls.

The reader is our own, because scipy's ends the process at some damaged files.

A file is a row of elements, each a kind, a size and content; an array is an element of further
elements. Sources: Hariharan et al., Semantic contours from inverse detectors, ICCV 2011; MathWorks,
MAT-file format, level 5. Shapes: H W pixels.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...images import MAX_PIXELS

SUFFIX = ".mat"
MAX_UNPACKED = 2 * MAX_PIXELS
"""Most bytes of a file after unpacking: a mask of MAX_PIXELS with its boundaries."""
_MAGIC = b"MATLAB 5.0 MAT-file"
_HEADER = 128
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_ARRAY, _PACKED = 14, 15
_STRUCTURE, _WHOLE_NUMBERS = 2, range(8, 14)
"""Classes of arrays: a structure, and whole numbers of 8 to 32 bits."""
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}
"""NumPy's types of whole numbers by kind of element."""
Element = tuple[int, bytes]


@dataclass(frozen=True, kw_only=True)
class _Array:
    """An array of a file.

    Attributes:
        kind: class of the array.
        shape: its dimensions.
        name: its name, empty in a structure.
        content: the elements after the name.
    """

    kind: int
    shape: tuple[int, ...]
    name: str
    content: Sequence[Element]


def read_segmentation(data: bytes, name: str) -> NDArray[np.integer]:
    """Return GTcls.Segmentation `[H,W]`: 0 background, class + 1.

    Args:
        data: the file.
        name: file, for messages.

    Raises:
        InputError: the file is damaged or of another kind, or holds instances (GTinst).
    """
    if not data.startswith(_MAGIC):
        version = " (it is version 7.3; save it with -v7)" if data[:10] == b"MATLAB 7.3" else ""
        raise InputError(f"mask {name} is no MATLAB file of version 5{version}")
    try:
        order = _BYTE_ORDERS[data[126:_HEADER]]
        bodies = _array_bodies(data[_HEADER:], order)
        arrays = {array.name: array for array in (_array(body, order) for body in bodies)}
        fields = _fields(arrays["GTcls"], order) if "GTcls" in arrays else {}
        segmentation = fields.get("Segmentation")
        values = None if segmentation is None else _whole_numbers(segmentation, order)
    except (ValueError, LookupError, struct.error, zlib.error) as error:
        raise InputError(
            f"mask {name} is not readable as SBD's MATLAB file: it is damaged ({error})"
        ) from error
    if values is not None:
        return values
    if "GTinst" in arrays and "GTcls" not in arrays:
        raise InputError(
            f"mask {name} holds GTinst, the instances; take the file of SBD's folder cls"
        )
    kind = "no array of whole numbers" if segmentation else "missing"
    raise InputError(f"mask {name} has no mask of classes: its GTcls.Segmentation is {kind}")


def _elements(data: bytes, order: str) -> Iterator[Element]:
    """Yield the kind and the content of each element.

    Raises:
        ValueError: an element claims more bytes than there are.
        struct.error: the last element is cut.
    """
    offset = 0
    while offset < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        start, step = offset + 8, 8 + (size if kind == _PACKED else -(-size // 8) * 8)
        if kind >> 16:  # content of up to four bytes stands beside the kind
            kind, size, start, step = kind & 0xFFFF, kind >> 16, offset + 4, 8
        if start + size > min(len(data), offset + step):
            raise ValueError(f"an element claims {size} bytes")
        yield kind, data[start : start + size]
        offset += step


def _array_bodies(data: bytes, order: str) -> list[bytes]:
    """Return the contents of the arrays of a file, unpacked.

    Raises:
        ValueError: the contents have over MAX_UNPACKED bytes.
        zlib.error: a packed array is damaged.
    """
    out, left = [], MAX_UNPACKED
    for kind, content in _elements(data, order):
        inner = [(kind, content)]
        if kind == _PACKED:
            unpacked = zlib.decompressobj().decompress(content, left + 1)
            left -= len(unpacked)
            inner = [*_elements(unpacked, order)] if left >= 0 else []
        if left < 0:
            raise ValueError(f"it has over {MAX_UNPACKED} bytes")
        out += [body for inner_kind, body in inner if inner_kind == _ARRAY]
    return out


def _array(body: bytes, order: str) -> _Array:
    """Return the array of an element."""
    (_, flags), (_, shape), (_, name), *content = _elements(body, order)
    return _Array(
        kind=struct.unpack_from(f"{order}I", flags)[0] & 0xFF,
        shape=tuple(np.frombuffer(shape, f"{order}i4").tolist()),
        name=name.decode("latin-1"),
        content=content,
    )


def _fields(array: _Array, order: str) -> dict[str, _Array]:
    """Return the fields of a structure by name.

    Raises:
        ValueError: the array is no single structure.
    """
    if array.kind != _STRUCTURE or array.shape != (1, 1):
        raise ValueError(f"{array.name} is no single structure")
    (_, size), (_, names), *bodies = array.content
    length = max(1, struct.unpack(f"{order}i", size)[0])
    texts = [names[k : k + length].split(b"\0")[0] for k in range(0, len(names), length)]
    return {
        text.decode("latin-1"): _array(body, order)
        for text, (_, body) in zip(texts, bodies, strict=True)
    }


def _whole_numbers(array: _Array, order: str) -> NDArray[np.integer] | None:
    """Return the values `[H,W]` of an array, None for an array of another kind.

    Raises:
        ValueError: the values do not fill the shape, or are of an unknown kind.
    """
    if array.kind not in _WHOLE_NUMBERS or len(array.shape) != 2:
        return None
    kind, content = array.content[0]
    if kind not in _TYPES:
        raise ValueError(f"its values are of the unknown kind {kind}")
    values: NDArray[np.integer] = np.frombuffer(content, f"{order}{_TYPES[kind]}")
    if min(array.shape) < 1 or math.prod(array.shape) != values.size:
        raise ValueError(f"its shape is {array.shape}, but it holds {values.size} values")
    return values.reshape(array.shape, order="F")
