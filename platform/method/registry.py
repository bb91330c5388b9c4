"""The installed methods, by name."""

from __future__ import annotations

import importlib.metadata
from functools import cache

from ..errors import InputError
from .base import Method


@cache
def methods() -> dict[str, type[Method]]:
    """All methods by name, from the entry points of group `wsss.methods`."""
    found: dict[str, type[Method]] = {}
    for point in importlib.metadata.entry_points(group="wsss.methods"):
        found[point.name] = point.load()
    return dict(sorted(found.items()))


def find(name: str) -> type[Method]:
    """The method called `name`.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if name not in methods():
        raise InputError(f"unknown method {name!r}; there are {', '.join(methods())}")
    return methods()[name]
