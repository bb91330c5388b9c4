"""Import of class maps and labels that other projects computed, as artifacts of the store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import registry
from ..data.formats.shards import read, slices
from ..data.names import check_name
from ..errors import InputError
from ..ray_runtime import cluster
from ..records.progress import ProgressDisplay
from ..storage.artifact import Artifact, Stage
from ..storage.artifact_files import ArtifactFolder
from ..storage.json_files import read_record, write_json
from ..storage.storage import Location
from ..storage.store import Store
from .formats import FORMATS, LABEL_IMAGES, without_file

KINDS = (*FORMATS, LABEL_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Imported class maps or labels.

    Attributes:
        kind: one of KINDS.
        shards: key of the data set.
        stages: by split, the stage whose artifact holds the class maps or labels.
    """

    kind: str
    shards: str
    stages: Mapping[str, Stage]

    @property
    def labels(self) -> bool:
        """Whether the import holds labels rather than class maps."""
        return self.kind == LABEL_IMAGES

    @property
    def probabilities(self) -> bool:
        """Whether the import holds a segmenter's probabilities of all classes."""
        return self.kind in FORMATS and FORMATS[self.kind].probabilities

    @property
    def background(self) -> bool:
        """Whether the imported class maps have a background plane."""
        return self.kind in FORMATS and FORMATS[self.kind].background


def _record_of(store: Store, name: str) -> Location:
    return store.location("imports", f"{check_name(name)}.json")


def find(store: Store, name: str) -> Import:
    """Return the import called `name`.

    Raises:
        InputError: there is no such import, or its record is damaged.
    """
    file = _record_of(store, name)
    if not file.exists():
        known = (n.removesuffix(".json") for n in file.parent.names(".json"))
        listed = ", ".join(known) or "none yet"
        raise InputError(f"nothing is imported as {name!r}; there are: {listed} (see wsss import)")
    record: Import = read_record(file, Import)
    if record.kind not in KINDS:
        raise InputError(
            f"{file} is of the unknown kind {record.kind!r}; there are {', '.join(KINDS)}"
        )
    return record


def files_fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and times of change of files.

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
    suffix = ".png" if kind == LABEL_IMAGES else FORMATS[kind].suffix
    rows = [r for p in slices(shards, split) for r in read(p, ("id", "labels"))]
    files = {folder / f"{r['id']}{suffix}": r["labels"] for r in rows}
    present = [f for f, labels in files.items() if not without_file(kind, labels) or f.exists()]
    if files and not present:
        raise InputError(f"{folder} has no file of an image of {split}; name another folder")
    return Stage(
        name="labels" if kind == LABEL_IMAGES else "maps",
        version=1,
        config={
            "import": kind,
            "split": split,
            "fingerprint": files_fingerprint(present),
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
    progress: ProgressDisplay,
) -> tuple[Import, bool]:
    """Check the files of a folder, one for each image, and import them under a name.

    Args:
        kind: one of KINDS.
        data: name of the data set.
        name: name of the import, which may hold other splits already.
        splits: splits to import.

    Returns:
        The import, and whether all of its artifacts were in the store already.

    Raises:
        InputError: the kind is unknown, a file is missing or wrong, or the name is taken.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    shards = registry.open_dataset(store, data)
    stages = {split: _stage(shards, kind, folder, split, name) for split in splits}
    file = _record_of(store, name)
    earlier = find(store, name) if file.exists() else None
    new = _joined(Import(kind=kind, shards=shards.key, stages=stages), earlier, name)
    recorded = earlier is not None and new.stages.keys() == earlier.stages.keys()
    if not recorded:
        store.check_writable(f"import {name!r}", "imports")
    progress.plan([stage.title for stage in stages.values()])
    cached = True
    for split, stage in stages.items():
        compute = _compute(shards, kind, folder, split, progress)
        cached &= _import_split(store, stage, compute, progress)
    return new if recorded else _kept(store, name, new), cached


def _import_split(
    store: Store,
    stage: Stage,
    compute: Callable[[ArtifactFolder], dict[str, object]],
    progress: ProgressDisplay,
) -> bool:
    """Compute the artifact of one split, and return whether it was in the store already."""
    progress.start(stage.title)
    _, cached = store.get(stage, compute)
    progress.finish(cached)
    return cached


def _kept(store: Store, name: str, new: Import) -> Import:
    """Write the record of an import, and return it with the splits that it has by now.

    Another process may have imported other splits meanwhile.
    """
    file = _record_of(store, name)
    with store.lock(f"import-{name}"):
        earlier = find(store, name) if file.exists() else None
        new = _joined(new, earlier, name)
        if not earlier or new.stages.keys() != earlier.stages.keys():
            write_json(file, new)
    return new


def _joined(new: Import, earlier: Import | None, name: str) -> Import:
    """Return an import with the splits of an earlier one of the same name.

    Raises:
        InputError: the earlier one is of other data or of other files.
    """
    if earlier is None:
        return new
    stages = {**earlier.stages, **new.stages}
    same = all(stages[split].key == stage.key for split, stage in earlier.stages.items())
    if not same or (new.kind, new.shards) != (earlier.kind, earlier.shards):
        raise InputError(
            f"the name {name!r} stands for another import; choose another --name, or remove "
            f"imports/{name}.json of the store"
        )
    return dataclasses.replace(new, stages=stages)


def _compute(
    shards: Artifact, kind: str, folder: Path, split: str, progress: ProgressDisplay
) -> Callable[[ArtifactFolder], dict[str, object]]:
    def compute(out: ArtifactFolder) -> dict[str, object]:
        from . import import_tasks

        cluster.connect()
        return import_tasks.import_folder(
            out,
            slices(shards, split),
            kind,
            folder.absolute(),
            len(shards.about["classes"]),
            lambda done, total: progress.update("", done, total),
        )

    return compute
