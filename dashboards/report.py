"""The page of a run or a sweep, gathered from the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..platform.data import class_maps, planes, shards
from ..platform.data.images import decode_mask
from ..platform.metrics import ConfusionMatrix
from ..platform.ops.maps import best_class
from ..platform.runs import RunRecord, SweepRecord
from ..platform.store import Artefact, Store
from .layers import ImageLayers
from .pages import write_report

COLUMNS = ("id", "image", "height", "width", "mask")


def report(
    store: Store, out: Path, run: RunRecord, sweep: SweepRecord | None = None, images: int = 48
) -> Path:
    """Writes the page of a run, and of the sweep that it is the best point of.

    Args:
        store: holds the run's artefacts.
        out: folder to write; replaced whole.
        run: whose scores and images are shown.
        sweep: whose trials are shown, if any.
        images: how many images of the first scored split the grid has.

    Returns:
        The page, `index.html`.

    Raises:
        InputError: an artefact of the run is gone or damaged.
    """
    layers = image_layers(store, run, images)
    return write_report(out, run=run, sweep=sweep, images=layers)


def image_layers(store: Store, run: RunRecord, count: int) -> Iterator[ImageLayers]:
    """Image, target and class maps of `count` images, spread evenly over the last split.

    The last split is the one that nothing was tuned on.
    """
    of_shards = store.open("shards", run.shards)
    split = list(next(iter(run.maps.values())))[-1]
    artefacts = {name: store.open("maps", keys[split]) for name, keys in run.maps.items()}
    artefacts |= {
        name: store.open("labels", keys[split])
        for name, keys in run.labels.items()
        if split in keys
    }
    pieces = shards.slices(of_shards, split)
    places = [(piece, row) for piece in pieces for row in range(piece.rows)]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))
    for piece in pieces:
        rows = [places[k][1] for k in chosen if places[k][0] is piece]
        if rows:
            yield from _of_slice(run, split, piece, rows, artefacts)


def _of_slice(
    run: RunRecord,
    split: str,
    piece: shards.Slice,
    wanted: list[int],
    artefacts: dict[str, Artefact],
) -> Iterator[ImageLayers]:
    rows = shards.read(piece, COLUMNS)
    files = {name: of.path(f"{piece.name}.parquet") for name, of in artefacts.items()}
    maps = {
        name: {m.id: m for m in class_maps.read([file])}
        for name, file in files.items()
        if name in run.maps
    }
    labels = {name: planes.read(file) for name, file in files.items() if name in run.labels}
    classes = len(next(iter(run.scores.values()))[split].classes)
    for k in wanted:
        row = rows[k]
        own = {name: of[row["id"]] for name, of in maps.items()}
        cut = {name: of[row["id"]] for name, of in labels.items()}
        target = decode_mask(row["mask"], row["id"]) if row["mask"] else None
        thresholds = {name: run.scores[name][split].threshold for name in own}
        yield ImageLayers(
            id=row["id"],
            image=row["image"],
            height=row["height"],
            width=row["width"],
            target=target,
            maps={name: (m.classes, m.planes) for name, m in own.items()},
            thresholds=thresholds,
            labels=cut,
            scores={
                **{k: image_score(m, target, thresholds[k], classes) for k, m in own.items()},
                **{k: image_score(m, target, 0.0, classes) for k, m in cut.items()},
            },
        )


def image_score(
    found: class_maps.ClassMaps | np.ndarray[tuple[int, int], np.dtype[np.uint8]],
    target: np.ndarray[tuple[int, int], np.dtype[np.uint8]] | None,
    threshold: float,
    classes: int,
) -> float | None:
    """Mean IoU of one image's seed, or labels, over the classes in it; None without a target."""
    if target is None:
        return None
    if isinstance(found, class_maps.ClassMaps):
        size = (found.height, found.width)
        score, best = best_class(torch.from_numpy(found.planes), found.classes, size)
        found = torch.where(score > threshold, best, 0).numpy().astype(np.uint8)
    matrix = ConfusionMatrix(classes)
    matrix.update(target, found)
    return matrix.mean_iou()
