"""Export of the class maps and labels of a run in the file formats of other projects."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..data.formats import class_maps, label_maps
from ..data.images import encode_png
from ..errors import InputError
from ..records.schema import RunRecord
from ..storage import filesystem
from ..storage.artifact import Artifact
from ..storage.store import Store
from . import formats, voc_submission

KINDS = (*voc_submission.COMPETITIONS, formats.LABEL_IMAGES, *formats.FORMATS)


def write(store: Store, run: RunRecord, out: Path, kind: str, what: str, split: str) -> int:
    """Write an archive or a folder, whole or not at all, and return its number of images.

    Args:
        store: the store with the artifacts of the run.
        run: the run to export from.
        out: path of the archive or folder, which must not exist.
        kind: one of KINDS.
        what: id of the class maps or labels in the form of `ResultId`, or the name of a segmenter
            of the run.
        split: split of the images.

    Raises:
        InputError: the kind is unknown, the run has no such class maps or labels of this split,
            the kind cannot hold them, or `out` exists.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    stage = "maps" if kind in formats.FORMATS else "labels"
    key = _key(run, stage, what, split)
    _check_free(out)
    classes = store.open("shards", run.shards).about["classes"]
    artifact = store.open(stage, key)
    if kind in voc_submission.COMPETITIONS:
        voc_submission.check(out, classes, kind)
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        if kind in voc_submission.COMPETITIONS:
            count = voc_submission.write(part, _labels(artifact), kind)
        else:
            part.mkdir(parents=True)
            count = _fill(part, artifact, kind, len(classes))
        _check_free(out)  # another process may have made it meanwhile
        part.rename(out)
    finally:
        filesystem.remove(part)
    return count


def _key(run: RunRecord, stage: str, what: str, split: str) -> str:
    """Return the key of the class maps or labels of a run; arguments are as for `write`.

    Raises:
        InputError: the run has none or several of this name.
    """
    keys = run.maps if stage == "maps" else run.labels
    ids = [id for id, splits in keys.items() if split in splits and what in (str(id), id.segmenter)]
    if len(ids) != 1:
        available = (
            ", ".join(f"{id} of {s}" for id, splits in keys.items() for s in splits) or "none"
        )
        fault = "several" if ids else "no"
        raise InputError(
            f"run {run.name} has {fault} {stage} {what!r} of {split!r}; it has {available}"
        )
    return keys[ids[0]][split]


def _check_free(out: Path) -> None:
    if os.path.lexists(out):
        raise InputError(f"{out} exists; name another path")


def _labels(artifact: Artifact) -> Iterator[tuple[str, label_maps.Plane]]:
    for file in artifact.files(".parquet"):
        yield from label_maps.read(file.local()).items()


def _fill(folder: Path, artifact: Artifact, kind: str, classes: int) -> int:
    count = 0
    if kind == formats.LABEL_IMAGES:
        for id, plane in _labels(artifact):
            (folder / f"{id}.png").write_bytes(encode_png(plane))
            count += 1
        return count
    for file in artifact.files(class_maps.MAPS):
        strided = {}
        if class_maps.strided_suffix(artifact) == class_maps.STRIDED:
            beside = file.with_suffix(class_maps.STRIDED).local()
            strided = {maps.id: maps for maps in class_maps.read([beside])}
        for maps in class_maps.read([file.local()]):
            formats.write(kind, folder, maps, classes, strided.get(maps.id))
            count += 1
    return count
