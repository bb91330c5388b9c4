"""Scores of the images of a data set, computed once and stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.shards import Slice
from ...platform.data.images import decode_mask
from ...platform.errors import InputError
from ...platform.labels import VOID
from ...platform.records.result_id import ResultId
from ...platform.serialization import as_json
from ...platform.storage.artifact import Stage
from ...platform.storage.artifact_files import ArtifactFolder
from ...platform.storage.json_files import read_record
from ...platform.storage.store import Store
from .artifact_cache import ArtifactCache, ByImage
from .layers import Mask, seed
from .scoring import ImageScore, score_of_image

ROWS = "rows.json"
Rows = dict[str, ImageScore]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Class maps with the seed threshold that cuts them, or labels (threshold None).

    Attributes:
        id: the result that they belong to.
        key: key of their artifact.
        threshold: score above which a pixel is foreground, 0 to 1; None for labels.
    """

    id: ResultId
    key: str
    threshold: float | None


def image_scores(
    store: Store,
    artifacts: ArtifactCache,
    shards: str,
    source: Source,
    pieces: Sequence[Slice],
    classes: int,
) -> Rows:
    """Return `score_of_image` by image id, from the store if it was computed before.

    Args:
        store, artifacts: read the data; artifacts keep the scores if the store is read-only.
        shards, pieces: data set and the slices of it to score. Images without a mask are left out.
        source: class maps or labels to score.
        classes: number of classes with background.

    Raises:
        InputError: an artifact is missing or damaged, or does not fit the images.
    """
    stage = Stage(
        name="image_scores",
        version=2,
        config={"threshold": source.threshold, "slices": [p.name for p in pieces]},
        inputs={"shards": shards, "found": source.key},
        title=f"image scores of {source.id}",
    )

    def rows() -> Rows:
        return dict(_rows(artifacts, shards, source, pieces, classes))

    def compute(folder: ArtifactFolder) -> dict[str, object]:
        computed = rows()
        (folder / ROWS).write_bytes(json.dumps(as_json(computed)).encode())
        return {"images": len(computed)}

    if stage.key not in artifacts.unkept and not store.find(stage.name, stage.key):
        try:
            store.check_writable(stage.title, f"artifacts/{stage.name}")
        except InputError:
            artifacts.unkept[stage.key] = rows()
    if stage.key in artifacts.unkept:
        return artifacts.unkept[stage.key]
    artifact, _ = store.get(stage, compute)
    known: Rows = read_record(artifact.file(ROWS), Rows)
    return known


def _rows(
    artifacts: ArtifactCache, shards: str, source: Source, pieces: Sequence[Slice], classes: int
) -> Iterator[tuple[str, ImageScore]]:
    for piece in pieces:
        predictions = _predictions(artifacts, source, piece)
        for id, data in artifacts.masks(shards, piece).items():
            target = decode_mask(data, id)
            if (target != VOID).any():
                try:
                    yield id, score_of_image(predictions[id], target, classes)
                except ValueError as error:
                    raise InputError(f"{source.id} does not fit image {id}: {error}") from error


def _predictions(artifacts: ArtifactCache, source: Source, piece: Slice) -> Mapping[str, Mask]:
    if source.threshold is None:
        return artifacts.labels(source.key, piece)
    maps: Mapping[str, ClassMaps] = artifacts.maps(source.key, piece)
    return ByImage({id: seed(m, source.threshold) for id, m in maps.items()})
