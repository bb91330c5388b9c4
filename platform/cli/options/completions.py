"""Values that a shell offers for the options of a command: names of methods and in the store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import StorageError
from .kinds import default_store

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

    from ...storage.store import Store


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
    return _files(context, "data")


def imports(context: CompletionContext) -> list[str]:
    """Return the names of the imports in the store."""
    return _files(context, "imports")


def runs(context: CompletionContext) -> list[str]:
    """Return the names of the runs in the store."""
    return _folders(context, "runs", "run.json")


def sweeps(context: CompletionContext) -> list[str]:
    """Return the names of the sweeps in the store."""
    return _folders(context, "sweeps", "sweep.json")


def _files(context: CompletionContext, folder: str) -> list[str]:
    """Return the names of the JSON files in a folder of the store, without their suffix."""
    store = _store(context)
    with contextlib.suppress(StorageError):
        names = store.storage.names(folder, ".json") if store else []
        return [name.removesuffix(".json") for name in names]
    return []


def _folders(context: CompletionContext, folder: str, file: str) -> list[str]:
    """Return the names of the subfolders that hold a file, in a folder of the store."""
    store = _store(context)
    with contextlib.suppress(StorageError):
        files = store.storage.versions(folder, [file]) if store else {}
        return sorted(name.split("/")[1] for name in files)
    return []


def _store(context: CompletionContext) -> Store | None:
    """Return the store of a command on disk; nothing is looked up in an object store."""
    from ...storage.store import store_on_disk

    return store_on_disk(context["store"].raw or default_store())
