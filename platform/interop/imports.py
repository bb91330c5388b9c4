"""Class maps and labels that other projects computed, as artifacts like one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import registry
from ..data.formats.shards import read, slices
from ..data.sources.source import check_name
from ..errors import InputError
from ..ray_runtime import cluster
from ..records.progress import Silent
from ..storage import filesystem
from ..storage.artifact import Artifact, Stage
from ..storage.json_files import read_record, write_json
from ..storage.store import Store
from .formats import FORMATS

LABELS = "png"
KINDS = (*FORMATS, LABELS)


@dataclass(frozen=True, kw_only=True)
class Import:
    """What stands under a name: for each split the stage whose artifact holds it.

    `labels` or class maps; `background` whether those bring one; `shards` the data set's key.
    """

    kind: str
    shards: str
    stages: Mapping[str, Stage]

    @property
    def labels(self) -> bool:
        """Whether it holds labels."""
        return self.kind == LABELS

    @property
    def probabilities(self) -> bool:
        """Whether it holds a segmenter's probabilities of all classes."""
        return self.kind in FORMATS and FORMATS[self.kind].probabilities

    @property
    def background(self) -> bool:
        """Whether its class maps bring a background plane."""
        return self.kind in FORMATS and FORMATS[self.kind].background


def _path(store: Store, name: str) -> Path:
    return store.root / "imports" / f"{check_name(name)}.json"


def find(store: Store, name: str) -> Import:
    """What was imported as `name`.

    Raises:
        InputError: nothing was.
    """
    path = _path(store, name)
    if not filesystem.exists(path):
        known = (n.removesuffix(".json") for n in filesystem.names(path.parent, ".json"))
        there = ", ".join(known) or "none yet"
        raise InputError(f"nothing is imported as {name!r}; there are: {there} (see wsss import)")
    found: Import = read_record(path, Import)
    if found.kind not in KINDS:
        raise InputError(
            f"{filesystem.address(path)} is of kind {found.kind!r}; there are {', '.join(KINDS)}"
        )
    return found


def _fingerprint(files: Sequence[Path]) -> str:
    """Changes with any file's name, size or time of change.

    Raises:
        InputError: a file is missing.
    """
    hasher = hashlib.sha256()
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            raise InputError(f"there is no {path}") from None
        hasher.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return hasher.hexdigest()


def _stage(shards: Artifact, kind: str, folder: Path, split: str, name: str) -> Stage:
    suffix = ".png" if kind == LABELS else FORMATS[kind].suffix
    ids = [r["id"] for p in slices(shards, split) for r in read(p, ("id",))]
    return Stage(
        name="labels" if kind == LABELS else "maps",
        version=1,
        config={
            "import": kind,
            "split": split,
            "fingerprint": _fingerprint([folder / f"{id}{suffix}" for id in ids]),
        },
        inputs={"shards": shards.key},
        title=f"import {name}, {split}",
    )


def add(
    store: Store,
    *,
    kind: str,
    folder: Path,
    data: str,
    name: str,
    splits: Sequence[str],
    progress: Silent,
) -> tuple[Import, bool]:
    """Checks and takes over a folder of files, one an image, and names them.

    Returns:
        The import, and whether its artifacts were there.

    Raises:
        InputError: an unknown kind, a missing or wrong file, or the name stands for others.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    shards = registry.open_dataset(store, data)
    stages = {split: _stage(shards, kind, folder, split, name) for split in splits}
    found = Import(kind=kind, shards=shards.key, stages=stages)
    path = _path(store, name)
    known = filesystem.exists(path)
    if known and _keys(find(store, name)) != _keys(found):
        raise InputError(f"the name {name!r} stands for another import; choose another --name")
    if not known:
        store.check_writable(f"import {name!r}", "imports")
    progress.plan([stage.title for stage in stages.values()])
    cached = True
    for split, stage in stages.items():
        progress.start(stage.title)
        compute = _compute(shards, kind, folder, split, progress)
        _, there = store.get(stage, compute)
        progress.finish(there)
        cached &= there
    if not known:
        write_json(path, found)
    return found, cached


def _keys(found: Import) -> dict[str, str]:
    return {split: stage.key for split, stage in found.stages.items()}


def _compute(
    shards: Artifact, kind: str, folder: Path, split: str, progress: Silent
) -> Callable[[Path], dict[str, Any]]:
    def compute(out: Path) -> dict[str, Any]:
        from . import import_tasks

        cluster.connect()
        return import_tasks.take_over(
            out,
            slices(shards, split),
            kind,
            folder.absolute(),
            len(shards.about["classes"]),
            lambda done, total: progress.update("", done, total),
        )

    return compute
