"""Arrays in `.npy` form and by name in `.npz` files, of whatever origin.

What a header says of an array's size is checked against the bytes that are there before memory is
asked for.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..storage import artifact_files

MAX_BYTES = 1 << 30
"""Of all arrays of a file, unpacked."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How NumPy packs the arrays of a file."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type of an array in `.npy` form; the stream then stands at its values.

    Raises:
        ValueError: it is no such array.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"it is in version {version} of the form; {list(_HEADERS)} are read")
    shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype


def plain(stream: Any, size: int) -> NDArray[Any]:
    """The array in `.npy` form that a stream of `size` bytes holds.

    Raises:
        ValueError: it is no array, has objects, or claims more values than there are bytes.
    """
    shape, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    if min(shape, default=0) < 0 or math.prod(shape) * max(1, dtype.itemsize) > size:
        raise ValueError(f"it claims {dtype} values of shape {shape} in {size} bytes")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def read(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file; `names` must be among them.

    Raises:
        InputError: it is missing or damaged, holds objects, lacks an array, or is over MAX_BYTES.
    """
    if not artifact_files.local(path).is_file():
        raise InputError(f"there is no {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            found = {}
            for member in members:
                with archive.open(member) as stream:
                    array = plain(stream, member.file_size)
                found[member.filename.removesuffix(".npy")] = array
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} is no .npz with plain arrays: {error}") from error
    for name in names:
        if name not in found:
            raise InputError(f"{path} lacks the array {name}; it has {', '.join(found) or 'none'}")
    return found


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises ValueError where a file, or what it unpacks to, is too large, or a name is twice."""
    size = max(path.stat().st_size, sum(member.file_size for member in members))
    if size > MAX_BYTES:
        raise ValueError(f"it unpacks to over {MAX_BYTES >> 20} MiB")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it holds two arrays of one name")
    for member in members:
        if member.compress_type not in PACKED:
            raise ValueError(f"{member.filename} is packed as NumPy does not")
