"""Reading of files that `torch.save` wrote, without running code.

Besides tensors and built-in containers a file may hold numbers and arrays of NumPy, which training
code leaves in checkpoints. They are rebuilt by the classes below, never by NumPy's own functions.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from .file_kinds import TORCH, kind_of

NUMBERS = re.compile(r"[<>=|]?[biuf](1|2|4|8|16)")
"""Names of NumPy's types of numbers, as pickles write them."""


class _NumberType:
    """A type of numbers that a pickle names in place of `numpy.dtype`."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not NUMBERS.fullmatch(name):
            raise ValueError("it holds a value of NumPy that is no number")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Numbers(np.ndarray):
    """An array that a pickle fills in place of `numpy.ndarray`."""

    def __new__(cls, *_: object) -> _Numbers:
        return np.empty(0, np.uint8).view(cls)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _NumberType) or not isinstance(data, bytes):
            raise ValueError("it holds an array that is not of numbers")
        if any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("it holds an array of an impossible shape")
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise ValueError("it holds an array with too many or too few numbers")
        checked: Any = (1, tuple(shape), kind.dtype, bool(fortran), data)
        super().__setstate__(checked)


def _empty(*_: object) -> _Numbers:
    """Return an array that its state then fills."""
    return _Numbers()


def _number(kind: object, data: object) -> NDArray[np.generic]:
    """Return a single number as an array of no dimensions."""
    if not isinstance(kind, _NumberType) or not isinstance(data, bytes):
        raise ValueError("it holds a value of NumPy that is no number")
    if len(data) != kind.dtype.itemsize:
        raise ValueError("it holds a number with too many or too few bytes")
    return np.frombuffer(data, kind.dtype).reshape(())


def _no_bytes(*content: object) -> bytes:
    """Return the bytes of an array without values, which pickles write as a call of `bytes`."""
    if content:
        raise ValueError("it holds bytes in a form that pickles of numbers do not take")
    return b""


ALLOWED: list[Any] = [
    (_no_bytes, "builtins.bytes"),
    (_NumberType, "numpy.dtype"),
    (_Numbers, "numpy.ndarray"),
    *((_empty, f"numpy.{name}.multiarray._reconstruct") for name in ("core", "_core")),
    *((_number, f"numpy.{name}.multiarray.scalar") for name in ("core", "_core")),
]
"""The callables that a file may name besides those of torch's own list, with the names."""


def torch_bytes(value: Any) -> bytes:
    """Return what `torch.save` writes of a value.

    `torch.save` reports a full disk as an error of its own archive; whoever writes these bytes gets
    the OSError.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def read_torch_file(path: str | Path) -> Any:
    """Read a file that `torch.save` wrote, with tensors in built-in containers.

    Raises:
        InputError: the file is missing, damaged, or holds pickled code or objects of classes.
    """
    if kind_of(Path(path)) != TORCH:
        raise InputError(f"{path} is not read as a file of torch.save: it has another format")
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle protocol that torch does not write itself
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} {_refusal(str(error))}") from error
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} is not read as a weight file: it is damaged: {error}") from error


def _refusal(message: str) -> str:
    """Return a sentence on a file that torch refused with a message."""
    if name := re.search(r"\bGLOBAL (\S+)", message):
        return (
            f"holds {name[1]} beside its tensors, which is pickled code and not run; if you trust "
            "the file, save its tensors alone: "
            'torch.save(torch.load(FILE, weights_only=False)["state_dict"], NEW_FILE)'
        )
    if "Unsupported operand" in message:
        return (
            "is not read as a weight file: it is damaged, or torch.save wrote it with a "
            "pickle_protocol; save it again without one"
        )
    return "is not read as a weight file: it is damaged, or holds pickled code, which is not run"
