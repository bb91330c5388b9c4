"""The source code of a method that is not installed, as it enters the keys of stages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from ..config.fields import Options
from ..errors import InputError
from ..serialization import digest

CONSTANTS = (bool, int, float, str, type(None))
"""Types of values that count by their text."""


def digest_of(cls: type) -> str:
    """Return the SHA-256 of the source code of a class.

    It covers the functions of the class and of its bases outside `wsss`, the constants of these
    classes, and what the functions use by name of the same module: functions, classes, numbers,
    texts and tuples of them.

    Raises:
        InputError: the source code of a function cannot be read.
    """
    return digest(_Reader(cls).read())


class _Reader:
    """A reader of the source code of one class.

    Args:
        cls: the class.
    """

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.seen: set[int] = set()

    def read(self) -> list[str]:
        """Return texts that change with the source code."""
        return list(self._class(self.cls))

    def _value(self, name: str, value: object) -> Iterator[str]:
        """Yield the texts of a value that the source code uses under a name."""
        if isinstance(value, property):
            for function in (value.fget, value.fset, value.fdel):
                yield from self._value(name, function)
        elif isinstance(value, staticmethod | classmethod):
            yield from self._value(name, value.__func__)
        elif is_constant(value):
            yield f"{name} = {value!r}"
        elif id(value) in self.seen or getattr(value, "__module__", "") != self.cls.__module__:
            return
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(unwrapped := inspect.unwrap(value), FunctionType):  # type: ignore[arg-type]
            self.seen.add(id(value))
            yield from self._function(unwrapped)

    def _class(self, cls: type) -> Iterator[str]:
        self.seen.add(id(cls))
        yield f"class {cls.__qualname__}"
        for base in cls.__mro__:
            if base.__module__ == self.cls.__module__:
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
        for name in sorted(_names(function.__code__) & outside.keys()):
            yield from self._value(name, outside[name])


def is_constant(value: Any) -> bool:
    """Return whether a value is a number, a text, None or a tuple of these."""
    if isinstance(value, tuple):
        return all(map(is_constant, value))
    return isinstance(value, CONSTANTS)


def _is_written(cls: type, name: str) -> bool:
    """Return whether an attribute of a class is part of what its author wrote."""
    if not name.startswith("__"):
        return name != "code"  # set by `register`
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
