"""Registry of the installed methods, by name."""

from __future__ import annotations

import importlib.metadata
from functools import cache

from ..errors import InputError
from .base import Method


@cache
def methods() -> dict[str, type[Method]]:
    """Return all methods by name, from the entry points of group `wsss.methods`."""
    classes: dict[str, type[Method]] = {}
    for point in importlib.metadata.entry_points(group="wsss.methods"):
        classes[point.name] = point.load()
    return dict(sorted(classes.items()))


def find_method(name: str) -> type[Method]:
    """Return the method called `name`.

    Raises:
        InputError: there is no such method; the message lists all methods.
    """
    if name not in methods():
        raise InputError(f"unknown method {name!r}; there are {', '.join(methods())}")
    return methods()[name]
