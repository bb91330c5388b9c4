"""Values that a shell offers for the options of a command: names of methods and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .kinds import default_store

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext


def methods(context: CompletionContext) -> list[str]:
    """Return the names of the installed methods, which are not loaded."""
    from importlib.metadata import entry_points

    return sorted(point.name for point in entry_points(group="wsss.methods"))


def methods_and_files(context: CompletionContext) -> list[str]:
    """Return the names of the installed methods and the experiment files.

    The files are those in the folder that the word names, or else here and in `experiments`.
    """
    folder = context.incomplete.rpartition("/")[0]
    folders = [f"{folder}/"] if "/" in context.incomplete else ["", "experiments/"]
    files = [f"{f}{path.name}" for f in folders for path in sorted(Path(f or ".").glob("*.y*ml"))]
    return [*methods(context), *files]


def methods_files_and_runs(context: CompletionContext) -> list[str]:
    """Return the names of methods, of experiment files and of runs in the store."""
    return [*methods_and_files(context), *runs(context)]


def presets(context: CompletionContext) -> list[str]:
    """Return the usual names of presets, of which a method may lack some."""
    return ["paper", "release", "default", "scenes"]


def data_sets(context: CompletionContext) -> list[str]:
    """Return the names of the data sets in the store."""
    return sorted(path.stem for path in _root(context).glob("data/*.json"))


def imports(context: CompletionContext) -> list[str]:
    """Return the names of the imports in the store."""
    return sorted(path.stem for path in _root(context).glob("imports/*.json"))


def runs(context: CompletionContext) -> list[str]:
    """Return the names of the runs in the store."""
    return sorted(path.parent.name for path in _root(context).glob("runs/*/run.json"))


def sweeps(context: CompletionContext) -> list[str]:
    """Return the names of the sweeps in the store."""
    return sorted(path.parent.name for path in _root(context).glob("sweeps/*/sweep.json"))


def _root(context: CompletionContext) -> Path:
    """Return the folder of the store; nothing is looked up in an object store."""
    return Path(context["store"].raw or default_store()).expanduser()
