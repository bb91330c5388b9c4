"""The one place that reads pickles: `.npy` files of the WSSS community, by an allow-list.

A pickle is a program. This reader runs none of it but what rebuilds arrays, tensors and plain
containers; anything else is refused by name before it is called.
"""

from __future__ import annotations

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError

MAX_BYTES = 1 << 30


def _storage(data: bytes) -> Any:
    """What `torch.storage._load_from_bytes` does, but without running code from `data`."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 stores bytes by; `_codecs.encode` itself can do more."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    from numpy._core import multiarray

    out: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _encoded,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("torch", "Size"): torch.Size,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        out[module, "_reconstruct"] = multiarray._reconstruct
        out[module, "scalar"] = multiarray.scalar
    return out


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _allowed().get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


def load(path: Path) -> Any:
    """The object in a `.npy` file: an array, or what a pickle of arrays and tensors holds.

    Raises:
        InputError: there is no such file, it is too large, it is no `.npy`, or its pickle asks
            for anything but arrays, tensors and plain containers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has over {MAX_BYTES >> 20} MiB; class maps are smaller")
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            _, _, dtype = read(stream)
            if not dtype.hasobject:
                stream.seek(0)
                return np.load(stream, allow_pickle=False)
            found = _Reader(stream).load()
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}") from error
    except InputError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(f"{path} is not read: {type(error).__name__}: {error}") from error
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
