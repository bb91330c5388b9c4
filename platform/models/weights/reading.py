"""Reading of weight files of all formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from .file_kinds import MXNET, SAFETENSORS, kind_of
from .mxnet_files import read_mxnet_file
from .torch_files import read_torch_file


def read(path: str | Path) -> Any:
    """Return the content of a weight file: tensors by name, possibly inside of other dicts.

    Raises:
        InputError: the file is missing, damaged, or in a format that is not read.
    """
    readers = {SAFETENSORS: _read_safetensors, MXNET: read_mxnet_file}
    return readers.get(kind_of(Path(path)), read_torch_file)(path)


def _read_safetensors(path: str | Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is not read as a .safetensors file: {error}") from error
