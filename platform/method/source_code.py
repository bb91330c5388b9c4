"""The source code of a method that is being edited, as it enters the keys of stages."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import logging
import re
import sys
import sysconfig
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePath
from types import CodeType, EllipsisType, FunctionType, MappingProxyType, ModuleType, UnionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..config.fields import Options
from ..errors import InputError
from ..serialization import digest

CONSTANTS = (bool, int, float, str, type(None))
"""Types of values that count by their text, also in tuples."""
WRITTEN = (
    *(bytes, complex, range, slice, EllipsisType, UnionType, PurePath, re.Pattern, Enum),
    *(np.dtype, np.generic, torch.dtype, torch.device),
)
"""Further types of values that count by their text."""
UNWRITTEN = ("code", "presets", "_abc_impl")
"""Attributes of a class that its methods do not read: `register` sets the first, the configuration
holds the values of the second, and Python sets the third."""


def digest_of(cls: type) -> str:
    """Return the SHA-256 of the source code of a class.

    It covers the functions of the class and of its bases, the values in these classes, and what
    the functions use by name: functions, classes, instances, containers, arrays, numbers and texts.
    Functions and classes count where they belong to the module of the class, or to another module
    of its folder; those of installed packages do not.

    Raises:
        InputError: the source code of a function cannot be read, or a value has no content that
            could be compared.
    """
    return digest(_Reader(cls).read())


class _Reader:
    """A reader of the source code of one class.

    Args:
        cls: the class.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.folder = _folder_of(cls.__module__)
        self.seen: set[int] = set()

    def read(self) -> list[str]:
        """Return texts that change with the source code."""
        return list(self._class(self.cls))

    def _is_own(self, module: object) -> bool:
        """Return whether a module is that of the class, or lies below its folder."""
        if module == self.cls.__module__:
            return True
        if not isinstance(module, str) or module.partition(".")[0] == "wsss":
            return False
        file = getattr(sys.modules.get(module), "__file__", None)
        return file is not None and _is_edited(Path(file).resolve(), self.folder)

    def _value(self, name: str, value: object) -> Iterator[str]:
        """Yield the texts of a value that the source code uses under a name."""
        if isinstance(value, property):
            for function in (value.fget, value.fset, value.fdel):
                yield from self._value(name, function)
        elif isinstance(value, staticmethod | classmethod):
            yield from self._value(name, value.__func__)
        elif isinstance(value, functools.cached_property):
            yield from self._value(name, value.func)
        elif isinstance(value, PurePath) and value.is_relative_to(self.folder):
            yield f"{name} = {value.relative_to(self.folder)!r}"
        elif is_constant(value) or isinstance(value, WRITTEN):
            yield f"{name} = {value!r}"
        elif hasattr(value, "__name__"):
            yield from self._named(value)
        else:
            yield from self._content(name, value)

    def _named(self, value: Any) -> Iterator[str]:
        """Yield the texts of a function or class, none if an installed package defines it."""
        if id(value) in self.seen or not self._is_own(getattr(value, "__module__", "")):
            return
        if isinstance(value, type):
            yield from self._class(value)
        elif isinstance(unwrapped := inspect.unwrap(value), FunctionType):
            self.seen.add(id(value))
            yield from self._function(unwrapped)

    def _content(self, name: str, value: object) -> Iterator[str]:
        """Yield the texts of a container, an array or an instance.

        Raises:
            InputError: the value is of another kind.
        """
        if isinstance(value, logging.Logger):
            return
        yield f"{name}: {type(value).__qualname__}"
        if isinstance(value, dict | MappingProxyType | list | tuple | functools.partial):
            for item in _items(value):
                yield from self._value(f"{name} item", item)
        elif isinstance(value, set | frozenset):
            yield from sorted("\n".join(self._value(f"{name} item", item)) for item in value)
        elif isinstance(value, np.ndarray | torch.Tensor):
            yield from self._array(name, value)
        elif isinstance(value, torch.nn.Module):
            yield from self._named(type(value))
            yield repr(value)
            yield from self._value(name, dict(value.state_dict()))
        elif dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            yield from self._instance(name, value, fields)
        elif self._is_own(type(value).__module__) and hasattr(value, "__dict__"):
            yield from self._instance(name, value, dict(vars(value)))
        else:
            raise InputError(
                f"{self.cls.__qualname__} uses {name}, a value of "
                f"{type(value).__module__}.{type(value).__qualname__} whose change would go "
                "unnoticed; make it in a function, or use numbers, texts, containers or arrays"
            )

    def _array(self, name: str, array: NDArray[Any] | torch.Tensor) -> Iterator[str]:
        if isinstance(array, np.ndarray) and array.dtype.hasobject:
            yield from self._value(name, array.tolist())
            return
        if isinstance(array, torch.Tensor):
            values = array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        else:
            values = array
        content = hashlib.sha256(values.tobytes()).hexdigest()
        yield f"{array.dtype} {tuple(array.shape)} {content}"

    def _instance(self, name: str, value: object, fields: dict[str, Any]) -> Iterator[str]:
        yield from self._named(type(value))
        if id(value) not in self.seen:
            self.seen.add(id(value))
            yield from self._value(name, fields)

    def _module(self, module: ModuleType, names: set[str]) -> Iterator[str]:
        """Yield the texts of what a function uses of a module of the folder."""
        if self._is_own(module.__name__):
            for name in sorted(names & vars(module).keys()):
                yield from self._global(name, vars(module)[name], names)

    def _global(self, name: str, value: object, names: set[str]) -> Iterator[str]:
        """Yield the texts of a value of a module, of which a function uses attributes by name."""
        if isinstance(value, ModuleType):
            yield from self._module(value, names - {name})
        else:
            yield from self._value(name, value)

    def _class(self, cls: type) -> Iterator[str]:
        self.seen.add(id(cls))
        yield f"class {cls.__qualname__}"
        for base in cls.__mro__:
            if self._is_own(base.__module__):
                for name, value in sorted(vars(base).items()):
                    if _is_written(base, name):
                        yield from self._value(name, value)

    def _function(self, function: FunctionType) -> Iterator[str]:
        try:
            yield inspect.getsource(function)
        except (OSError, TypeError) as error:
            raise InputError(
                f"the source code of {function.__qualname__} in {self.cls.__qualname__} cannot be "
                "read, so that a change would go unnoticed; write the class in a file or a "
                "notebook cell"
            ) from error
        outside = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        names = _names(function.__code__)
        for name in sorted(names & outside.keys()):
            yield from self._global(name, outside[name], names)


def is_constant(value: Any) -> bool:
    """Return whether a value is a number, a text, None or a tuple of these."""
    if isinstance(value, tuple):
        return all(map(is_constant, value))
    return isinstance(value, CONSTANTS)


def _items(value: Any) -> Iterator[object]:
    """Yield the keys and values of a dictionary, the items of a list, or the parts of a partial."""
    if isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, list | tuple):
        yield from value
    else:
        for key, item in value.items():
            yield from (key, item)


def _is_written(cls: type, name: str) -> bool:
    """Return whether an attribute of a class is part of what its author wrote."""
    if not name.startswith("__"):
        return name not in UNWRITTEN
    value = vars(cls)[name]
    return (
        not issubclass(cls, Options)
        and isinstance(value, FunctionType)
        and value.__code__.co_filename != "<string>"  # made by a decorator
    )


def _names(code: CodeType) -> set[str]:
    """Return the names that a function reads from outside, also inside inner functions."""
    names = {*code.co_names, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _folder_of(module: str) -> Path:
    """Return the folder from which a module is imported; the current one for a notebook."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file:
        return Path.cwd()
    path = Path(file).resolve()
    levels = 0 if module == "__main__" else module.count(".") + (path.stem == "__init__")
    return path.parents[levels]


def is_edited(module: str) -> bool:
    """Return whether an imported module lies in a folder that is no copy that pip installed."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and _is_edited(Path(file).resolve(), _folder_of(module))


def _is_edited(file: Path, folder: Path) -> bool:
    """Return whether a file lies below a folder and belongs to no installed package."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return (
        file.is_relative_to(folder)
        and not file.is_relative_to(library)
        and not {"site-packages", "dist-packages"}.intersection(file.parts)
    )
