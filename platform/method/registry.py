"""Registry of the methods by name: the installed methods, and methods of a script or notebook."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from ..errors import InputError
from . import source_code
from .base import Method

M = TypeVar("M", bound=type[Method])
_registered: dict[str, type[Method]] = {}
"""The methods that this process registered, by name."""


@cache
def _installed() -> dict[str, type[Method]]:
    """Return the methods by name from the entry points of group `wsss.methods`."""
    return {
        point.name: point.load() for point in importlib.metadata.entry_points(group="wsss.methods")
    }


def methods() -> dict[str, type[Method]]:
    """Return all methods by name, in the order of their names."""
    return dict(sorted({**_installed(), **_registered}.items()))


def find_method(name: str) -> type[Method]:
    """Return the method called `name`.

    Raises:
        InputError: there is no such method; the message lists all methods.
    """
    known = methods()
    if name not in known:
        raise InputError(f"unknown method {name!r}; there are {', '.join(known)}")
    return known[name]


def weights_field(method: str) -> str:
    """Return the field that `--weights` sets, for a method or several joined by +.

    An unknown method is refused later, with its place in an experiment file.
    """
    return methods().get(method.split("+")[0], Method).weights_field


def register(method: M) -> M:
    """Add a method of a script or notebook to the methods of this process, and return it.

    All functions and commands of this process then know the method by its `name`. The digest of
    its source code enters the keys of its stages, so that a changed method is computed again; of
    what the source code reads elsewhere in its module, functions, classes, numbers and texts count.
    A method registered before under the same name is replaced. Ray's workers get the class of a
    script or cell; the class of a module is imported there, so its module must be installed.

    Example:
        >>> @register
        ... class Squared(find_method("cam")):
        ...     name = "squared"
        ...     trains_as = "cam"
        ...
        ...     def localize(self, network, images, labels):
        ...         return super().localize(network, images, labels) ** 2

    Args:
        method: a class derived from `Method` or from an installed method, with a `name` of its own.

    Raises:
        InputError: the class is no method, its name belongs to an installed method, something that
            a method needs is missing, or its source code cannot be read.
    """
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"{method!r} is no method; derive a class from Method")
    title, name = method.__qualname__, getattr(method, "name", "")
    if not isinstance(name, str) or not name.isidentifier() or name in _installed():
        reason = "belongs to an installed method" if name in _installed() else "is no identifier"
        raise InputError(f"the name {name!r} of {title} {reason}; set another `name` in the class")
    lacking = [word for word in ("source", "presets") if not hasattr(method, word)]
    lacking += sorted(method.__abstractmethods__)
    if lacking:
        raise InputError(f"{title} lacks {lacking[0]!r}; define it in the class")
    method.code = source_code.digest_of(method)
    _registered[name] = method
    return method


def registered() -> dict[str, tuple[type[Method], str]]:
    """Return the class and the digest of each method that this process registered, by name."""
    return {name: (method, method.code) for name, method in _registered.items()}


def restore(methods: Mapping[str, tuple[type[Method], str]]) -> None:
    """Register methods that another process returned from `registered`."""
    for name, (method, code) in methods.items():
        method.code = code
        _registered[name] = method
