"""Arrays by name in an `.npz` file, of whatever origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import parts
from ..errors import InputError

MAX_BYTES = 1 << 30
"""Of all arrays of a file, unpacked."""


def read(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file; `names` must be among them.

    Raises:
        InputError: it is missing or damaged, holds objects, lacks an array, or is over MAX_BYTES.
    """
    if not parts.local(path).is_file():
        raise InputError(f"there is no {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            size = sum(member.file_size for member in arrays.zip.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"it unpacks to over {MAX_BYTES >> 20} MiB")
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} is no .npz with plain arrays: {error}") from error
    for name in names:
        if name not in found:
            raise InputError(f"{path} lacks the array {name}; it has {', '.join(found) or 'none'}")
    return found
