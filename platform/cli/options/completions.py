"""Values that a shell offers for the options of a command: names of methods and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .kinds import default_store


def methods(context: Any) -> list[str]:
    """Return the names of the installed methods, which are not loaded."""
    from importlib.metadata import entry_points

    return sorted(point.name for point in entry_points(group="wsss.methods"))


def presets(context: Any) -> list[str]:
    """Return the names of the presets that every method has."""
    return ["paper", "release", "default", "scenes"]


def data_sets(context: Any) -> list[str]:
    """Return the names of the data sets in the store."""
    return _names(context, "data")


def imports(context: Any) -> list[str]:
    """Return the names of the imports in the store."""
    return _names(context, "imports")


def runs(context: Any) -> list[str]:
    """Return the names of the runs in the store."""
    return _names(context, "runs")


def sweeps(context: Any) -> list[str]:
    """Return the names of the sweeps in the store."""
    return _names(context, "sweeps")


def _names(context: Any, folder: str) -> list[str]:
    """Return the names in a folder of a store on this machine; in an object store none is read."""
    root = Path(context["store"].raw or default_store()).expanduser()
    return sorted(path.name.removesuffix(".json") for path in (root / folder).glob("[!.]*"))
