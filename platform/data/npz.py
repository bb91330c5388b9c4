"""Reading of untrusted `.npy` and `.npz` files without running code.

The size of an array in its header is checked against the bytes of the file before memory is
allocated.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..storage import filesystem

MAX_BYTES = 1 << 30
"""Largest size of all arrays of a file, unpacked."""
COMPRESSION_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods that NumPy uses for the arrays of a file."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read the shape and the type of an array in `.npy` format, up to the start of its values.

    Raises:
        ValueError: the stream holds no such array.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"it has version {version} of the format; {list(_HEADERS)} are read")
    shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype


def read_array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read an array in `.npy` format from a stream of `size` bytes.

    Raises:
        ValueError: the stream holds no array, an array of objects, or fewer bytes than the array
            claims.
    """
    shape, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers or text")
    if min(shape, default=0) < 0 or math.prod(shape) * max(1, dtype.itemsize) > size:
        raise ValueError(f"it claims {dtype} values of shape {shape} in {size} bytes")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def read(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz` file by name.

    Args:
        path: the file.
        names: arrays that the file must hold.

    Raises:
        InputError: the file is missing or damaged, holds objects, lacks an array, or is over
            MAX_BYTES.
    """
    if not filesystem.regular(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            arrays = {}
            for member in members:
                with archive.open(member) as stream:
                    array = read_array(stream, member.file_size)
                arrays[member.filename.removesuffix(".npy")] = array
    except Exception as error:  # damaged bytes raise almost any type of exception
        raise InputError(f"{path} is no .npz file of arrays: {error}") from error
    for name in names:
        if name not in arrays:
            raise InputError(f"{path} lacks the array {name}; it has {', '.join(arrays) or 'none'}")
    return arrays


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise ValueError where a file is too large, also unpacked, or holds a name twice."""
    size = max(path.stat().st_size, sum(member.file_size for member in members))
    if size > MAX_BYTES:
        raise ValueError(f"it unpacks to over {MAX_BYTES >> 20} MiB")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it holds two arrays of one name")
    for member in members:
        if member.compress_type not in COMPRESSION_METHODS:
            raise ValueError(f"{member.filename} is packed by a method that NumPy does not use")
