"""How each image of a split fares: its score and the kinds of its errors, kept in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.shards import Slice
from ...platform.data.images import VOID, decode_mask
from ...platform.errors import InputError
from ...platform.metrics import ConfusionMatrix
from ...platform.records.result_id import ResultId
from ...platform.storage import artifact_files
from ...platform.storage.artifact import Stage
from ...platform.storage.json_files import read_record
from ...platform.storage.store import Store
from .artifact_cache import ArtifactCache, ByImage
from .layers import Mask, seed

ROWS = "rows.json"
Rows = dict[str, list[float]]
ERRORS = ("missed part", "context", "confusion")
"""Object taken for background, background taken for an object, one object for another."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a split is judged by: class maps cut at `threshold`, or labels (threshold None)."""

    id: ResultId
    key: str
    threshold: float | None


def judged(found: Mask, target: Mask, classes: int) -> list[float]:
    """Mean IoU of an image over the classes in it, then its share of pixels with each of ERRORS.

    Args:
        found: mask values `[H,W]`, 255 counts as background.
        target: likewise, 255 is left out, but not everywhere.
        classes: background included.
    """
    matrix = ConfusionMatrix(classes)
    matrix.update(target, found)
    known = target != VOID
    there, said = target > 0, (found > 0) & (found != VOID)
    wrong = (there & ~said, ~there & said, there & said & (target != found))
    total = int(known.sum())
    shares = [int((known & kind).sum()) / total for kind in wrong]
    return [round(v, 4) for v in (matrix.mean_iou(), *shares)]


def image_scores(
    store: Store,
    artifacts: ArtifactCache,
    shards: str,
    source: Source,
    pieces: Sequence[Slice],
    classes: int,
) -> Rows:
    """`judged` of the images of some slices that have a mask that says something, by id; computed
    once.

    Args:
        store: keeps the result.
        artifacts: reads what is judged, and keeps the result where the store cannot be written.
        shards: key of the data set.
        source: what is judged.
        pieces: slices of the data set.
        classes: background included.

    Raises:
        InputError: an artifact is gone or damaged.
    """
    stage = Stage(
        name="image_scores",
        version=1,
        config={"threshold": source.threshold, "slices": [p.name for p in pieces]},
        inputs={"shards": shards, "found": source.key},
        title=f"images of {source.id}",
    )

    def rows() -> Rows:
        return dict(_rows(artifacts, shards, source, pieces, classes))

    def compute(folder: Path) -> dict[str, Any]:
        computed = rows()
        (folder / ROWS).write_text(json.dumps(computed))
        return {"images": len(computed)}

    if stage.key not in artifacts.unkept and not store.find(stage.name, stage.key):
        try:
            store.check_writable(stage.title, f"artifacts/{stage.name}")
        except InputError:
            artifacts.unkept[stage.key] = rows()
    if stage.key in artifacts.unkept:
        return artifacts.unkept[stage.key]
    artifact, _ = store.get(stage, compute)
    known: Rows = read_record(artifact_files.local(artifact.path(ROWS)), Rows)
    return known


def _rows(
    artifacts: ArtifactCache, shards: str, source: Source, pieces: Sequence[Slice], classes: int
) -> Iterator[tuple[str, list[float]]]:
    for piece in pieces:
        found = _found(artifacts, source, piece)
        for id, data in artifacts.masks(shards, piece).items():
            target = decode_mask(data, id)
            if (target != VOID).any():
                try:
                    yield id, judged(found[id], target, classes)
                except ValueError as error:
                    raise InputError(f"{source.id} does not fit image {id}: {error}") from error


def _found(artifacts: ArtifactCache, source: Source, piece: Slice) -> Mapping[str, Mask]:
    if source.threshold is None:
        return artifacts.labels(source.key, piece)
    maps: Mapping[str, ClassMaps] = artifacts.maps(source.key, piece)
    return ByImage({id: seed(m, source.threshold) for id, m in maps.items()})
