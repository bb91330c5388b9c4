"""The register of data sets in a store, from the name of a data set to its shards."""

from __future__ import annotations

import contextlib
from functools import partial

from ..errors import InputError
from ..ray_runtime import cluster
from ..records.progress import ProgressDisplay
from ..storage.artifact import Artifact
from ..storage.artifact_files import ArtifactFolder
from ..storage.json_files import read_record, write_json
from ..storage.store import Store
from .check.dataset_check import DatasetCheck
from .formats.checked_shards import check_of_shards
from .formats.shards import Conversion, check_share, convert, stage_of, write
from .names import check_name
from .sources.source import Source


def names(store: Store) -> list[str]:
    """Return the names of the data sets of a store."""
    return [n.removesuffix(".json") for n in store.location("data").names(".json")]


def keys(store: Store) -> dict[str, str]:
    """Return the keys of the shards of all data sets by name; damaged records are left out."""
    out = {}
    for name in names(store):
        with contextlib.suppress(InputError):
            if row := _row(store, name):
                out[name] = row["key"]
    return out


def open_dataset(store: Store, name: str) -> Artifact:
    """Return the verified shards of the data set `name`.

    Raises:
        InputError: there is no such data set, or its shards are damaged or missing.
    """
    row = _row(store, name)
    if row is None:
        known = ", ".join(names(store)) or "none yet"
        raise InputError(
            f"there is no data set {name!r} in the store {store}; there are: {known} (make it with "
            "wsss data, or name another store with --store)"
        )
    artifact = store.find("shards", row["key"])
    if artifact is None:
        raise InputError(
            f"data set {name!r} {_fault(store, row['key'])}; make it again with wsss data "
            f"{row['source']}"
        )
    return artifact


def _fault(store: Store, key: str) -> str:
    """Return what is wrong with shards that the store does not hold intact."""
    if key in store.unmoved:
        return f"is damaged ({store.unmoved[key]})"
    quarantined = (fault for fault in store.faults() if fault.startswith(f"shards-{key[:12]}-"))
    if fault := next(quarantined, ""):
        return f"is damaged and was moved to quarantine ({fault})"
    return "has no shards in this store"


def _row(store: Store, name: str) -> dict[str, str] | None:
    file = store.location("data", f"{check_name(name)}.json")
    if not file.exists():
        return None
    row: dict[str, str] = read_record(file, dict[str, str])
    if not {"key", "source"} <= set(row):
        raise InputError(f"{file} names no shards; remove it and make {name!r} again")
    return row


def add(
    store: Store, source: Source, name: str, progress: ProgressDisplay, tolerate: float = 0.0
) -> tuple[Artifact, bool]:
    """Write the shards of a source, unless the store holds them, and register them by name.

    Args:
        store: the store.
        source: where records come from.
        name: name of the data set.
        progress: takes the stage and its progress.
        tolerate: largest share, 0 to 1, of broken records that are left out.

    Returns:
        The shards, and whether the store held them already.

    Raises:
        InputError: the input is bad, shards lack more records, or the name stands for other data.
    """
    if not 0 <= tolerate <= 1:
        raise InputError(f"--quarantine is {tolerate}; it must be a share, 0 to 1")
    stage = stage_of(source)
    row = _row(store, name)
    if row and row["key"] != stage.key and store.holds("shards", row["key"]):
        raise InputError(
            f"the name {name!r} stands for other data (shards {row['key'][:12]}); choose another "
            f"with --name, or remove data/{name}.json of the store"
        )
    entry = {"key": stage.key, "source": source.name}
    if row != entry:
        store.check_writable(f"data set {name!r}", "data")
    progress.plan([stage.title])
    progress.start(stage.title)

    def compute(folder: ArtifactFolder) -> dict[str, object]:
        cluster.connect()
        advance = partial(progress.update, "")
        return write(folder, source, tolerate, advance, cluster.cpu_stage_resources())

    artifact, cached = store.get(stage, compute)
    if left_out := artifact.about["quarantined"]:
        check_share(left_out, len(source.items()), tolerate)
    progress.finish(cached)
    if row != entry:
        write_json(store.location("data", f"{name}.json"), entry)
    return artifact, cached


def read_all(source: Source, progress: ProgressDisplay) -> Conversion:
    """Read all records of a source and check them, without writing anything to a store.

    Broken records are left out and listed, see `Conversion.faults`.

    Args:
        source: where records come from.
        progress: takes the progress.
    """
    title = f"check of {source.name}"
    progress.plan([title])
    progress.start(title)
    cluster.connect()
    advance = partial(progress.update, "")
    conversion = convert(None, source, True, advance, cluster.cpu_stage_resources())
    progress.finish(False)
    return conversion


def check(store: Store, name: str) -> DatasetCheck:
    """Return the check of a data set of a store.

    Raises:
        InputError: there is no such data set, or its shards are damaged or missing.
    """
    return check_of_shards(open_dataset(store, name))
