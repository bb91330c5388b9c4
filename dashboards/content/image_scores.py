"""Scores of single images: mean IoU and shares of wrong pixels, computed once and stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...platform.data.formats.class_maps import ClassMaps
from ...platform.data.formats.shards import Slice
from ...platform.data.images import VOID, decode_mask
from ...platform.errors import InputError
from ...platform.metrics import ConfusionMatrix
from ...platform.records.result_id import ResultId
from ...platform.storage.artifact import Stage
from ...platform.storage.artifact_files import ArtifactFolder
from ...platform.storage.json_files import read_record
from ...platform.storage.store import Store
from .artifact_cache import ArtifactCache, ByImage
from .layers import Mask, seed

ROWS = "rows.json"
Rows = dict[str, list[float]]
ERRORS = ("false negatives", "false positives", "class confusion")
"""Kinds of wrong pixels: objects predicted as background, background predicted as an object, and
objects predicted as an object of another class."""


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


def score_of_image(prediction: Mask, target: Mask, classes: int) -> list[float]:
    """Return the mean IoU of an image, then its share of pixels with each of ERRORS.

    Args:
        prediction: mask values `[H,W]`; 255 counts as background.
        target: mask values `[H,W]`; pixels of 255 are left out, and not all pixels are 255.
        classes: number of classes with background.

    Returns:
        The mean IoU over the classes in the image and the three shares, all 0 to 1.
    """
    matrix = ConfusionMatrix(classes)
    matrix.update(target, prediction)
    known = target != VOID
    is_object, is_predicted = target > 0, (prediction > 0) & (prediction != VOID)
    wrong = (
        is_object & ~is_predicted,
        ~is_object & is_predicted,
        is_object & is_predicted & (target != prediction),
    )
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
        version=1,
        config={"threshold": source.threshold, "slices": [p.name for p in pieces]},
        inputs={"shards": shards, "found": source.key},
        title=f"image scores of {source.id}",
    )

    def rows() -> Rows:
        return dict(_rows(artifacts, shards, source, pieces, classes))

    def compute(folder: ArtifactFolder) -> dict[str, object]:
        computed = rows()
        (folder / ROWS).write_bytes(json.dumps(computed).encode())
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
) -> Iterator[tuple[str, list[float]]]:
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
