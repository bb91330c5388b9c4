"""Scoring: class maps against masks at every threshold, in one pass, as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import class_maps, shards
from ..data.class_maps import ClassMaps
from ..data.images import decode_mask
from ..errors import InputError
from ..metrics import RULE, THRESHOLDS, ThresholdCurve, summarize
from ..ops.maps import best_class
from ..runs import PARTS, Score
from ..store import Artefact
from . import cluster

COUNTS = "counts.npz"
COLUMNS = ("id", "height", "width", "mask", "parts")


@dataclass
class Tally:
    """The counts of some images: the threshold curve, and activated pixels by kind of part.

    `parts` int64 `[3,T+1]`: pixels of each kind by how many thresholds their own class exceeds
    (0 where another class or none wins).
    """

    curve: ThresholdCurve
    parts: NDArray[np.int64]
    images: int = 0

    @classmethod
    def empty(cls, classes: int) -> Tally:
        return cls(ThresholdCurve(classes), np.zeros((len(PARTS), len(THRESHOLDS) + 1), np.int64))

    def merge(self, other: Tally) -> None:
        self.curve.merge(other.curve)
        self.parts = self.parts + other.parts
        self.images += other.images


def add_image(tally: Tally, maps: ClassMaps, row: dict[str, Any]) -> None:
    """Counts one image; `row` holds its mask and, where the data set has them, its parts.

    Raises:
        InputError: the image has no mask, or maps and mask differ in size.
    """
    if row["mask"] is None:
        raise InputError(f"image {row['id']} has no mask, so its split cannot be scored")
    target = torch.from_numpy(decode_mask(row["mask"], row["id"]))
    planes, size = torch.from_numpy(maps.planes), (maps.height, maps.width)
    score, best = best_class(planes, maps.classes, size)
    if target.shape != score.shape:
        raise InputError(
            f"maps of {maps.id} are for {tuple(score.shape)}, its mask is {tuple(target.shape)}"
        )
    tally.curve.update(target, score, best)
    tally.images += 1
    if row["parts"] is not None:
        parts = torch.from_numpy(decode_mask(row["parts"], row["id"])).long()
        below = tally.curve.steps.below(score) * (best == parts // 4)
        for kind in range(len(PARTS)):
            chosen = below[parts % 4 == kind + 1]
            tally.parts[kind] += np.bincount(chosen, minlength=tally.parts.shape[1])


def score_slice(pair: tuple[shards.Slice, str], classes: int) -> Tally:
    """A task: the tally of one slice of the shards and the class maps of its images."""
    torch.set_num_threads(1)
    piece, path = pair
    rows = {r["id"]: r for r in shards.read(piece, COLUMNS)}
    tally = Tally.empty(classes)
    for maps in class_maps.read([Path(path)]):
        if maps.id not in rows:
            raise InputError(f"there are class maps of {maps.id}, but no such image")
        add_image(tally, maps, rows.pop(maps.id))
    if rows:
        raise InputError(f"image {next(iter(rows))} has no class maps in {Path(path).name}")
    return tally


def score(
    folder: Path,
    maps: Artefact,
    pieces: Sequence[shards.Slice],
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: leaves the counts of one split in `folder`."""
    by_name = {p.stem: p for p in maps.files(".parquet")}
    for piece in pieces:
        if piece.name not in by_name:
            raise InputError(f"class maps of slice {piece.name} are missing")
    pairs = [(piece, str(by_name[piece.name])) for piece in pieces]
    total = Tally.empty(classes)
    for tally in cluster.each(score_slice, pairs, (classes,), progress):
        total.merge(tally)
    np.savez_compressed(folder / COUNTS, curve=total.curve.counts, parts=total.parts)
    return {"images": total.images}


def read_score(
    artefact: Artefact,
    *,
    split: str,
    classes: Sequence[str],
    scored: Sequence[int],
    threshold: float | None = None,
    threshold_from: str = "",
) -> Score:
    """The scores of a split from its counts.

    Args:
        artefact: of the scoring stage.
        split: its name.
        classes: names, background first.
        scored: indices that means run over.
        threshold: of the seed; none: the best on this split.
        threshold_from: the split that the threshold was chosen on, or what else gave it.
    """
    with np.load(artefact.path(COUNTS), allow_pickle=False) as arrays:
        counts, parts = arrays["curve"], arrays["parts"]
    curve = ThresholdCurve(len(classes))
    curve.counts = counts
    summaries = [summarize(matrix, scored) for matrix in curve.matrices()]
    miou = [s.miou for s in summaries]
    at = int(np.nanargmax(miou)) if threshold is None else THRESHOLDS.index(threshold)
    best = summaries[at]
    return Score(
        split=split,
        n=int(artefact.about["images"]),
        classes=tuple(classes),
        scored=tuple(scored),
        rule=RULE,
        thresholds=THRESHOLDS,
        miou=tuple(miou),
        threshold=THRESHOLDS[at],
        threshold_from=threshold_from or split,
        iou=tuple(None if v != v else v for v in best.iou),
        false_positives=best.false_positives,
        false_negatives=best.false_negatives,
        precision=best.precision,
        recall=best.recall,
        parts=_shares(parts, at),
    )


def _shares(parts: NDArray[np.int64], at: int) -> dict[str, float] | None:
    """The activated share of each kind of part at threshold number `at`; None without parts."""
    totals = parts.sum(1)
    shares = {
        kind: float(parts[k, at + 1 :].sum() / totals[k])
        for k, kind in enumerate(PARTS)
        if totals[k]
    }
    return shares or None
