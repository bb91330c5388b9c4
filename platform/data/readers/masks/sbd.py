"""Masks of SBD as they are downloaded: MATLAB files with the structure GTcls.

Source: Hariharan et al., Semantic contours from inverse detectors, ICCV 2011; the file format is
MATLAB's version 5, whose elements may be packed with zlib. Shapes: H W pixels.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...images import MAX_PIXELS

SUFFIX = ".mat"
MAX_UNPACKED = 2 * MAX_PIXELS
"""Most bytes of a file after unpacking: a mask of MAX_PIXELS with its boundaries."""
_HEADER = 128
_MAGIC = b"MATLAB 5.0 MAT-file"
_PACKED = 15
"""Kind of an element that is packed with zlib."""


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
    from scipy.io import loadmat

    try:
        unpacked = io.BytesIO(_unpacked(data))
        content = loadmat(unpacked, variable_names=("GTcls", "GTinst"))
        structure = content.get("GTcls")
        segmentation = None if structure is None else structure["Segmentation"].item()
    except Exception as error:  # scipy's reader lets out many kinds for damaged bytes
        raise InputError(
            f"mask {name} is not readable as SBD's MATLAB file: {str(error)[:200]!r}"
        ) from error
    if segmentation is None:
        instances = "GTinst" in content
        raise InputError(
            f"mask {name} holds GTinst, the instances; take the file of SBD's folder cls"
            if instances
            else f"mask {name} has no GTcls.Segmentation, SBD's mask of classes"
        )
    if (
        not isinstance(segmentation, np.ndarray)
        or segmentation.ndim != 2
        or segmentation.dtype.kind not in "ui"
        or not 0 < segmentation.size <= MAX_PIXELS
    ):
        raise InputError(f"mask {name} has a GTcls.Segmentation that is no array of whole numbers")
    return segmentation


def _unpacked(data: bytes) -> bytes:
    """Return a MATLAB file whose elements are not packed.

    Raises:
        ValueError: the elements are over MAX_UNPACKED in size.
        struct.error, zlib.error: the file is damaged.
    """
    order = "<" if data[126:_HEADER] == b"IM" else ">"
    out, offset = bytearray(data[:_HEADER]), _HEADER
    while offset < len(data):
        kind, size = struct.unpack(f"{order}II", data[offset : offset + 8])
        start, offset = offset, offset + 8 + size
        if kind == _PACKED:
            out += zlib.decompressobj().decompress(
                data[start + 8 : offset], MAX_UNPACKED - len(out) + 1
            )
        else:
            out += data[start:offset]
        if len(out) > MAX_UNPACKED:
            raise ValueError(f"it has over {MAX_UNPACKED} bytes")
    return bytes(out)
