"""Scoring: class maps at every threshold in one pass, or labels, against masks; Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data import npz
from ...data.formats import class_maps, label_maps, shards
from ...data.formats.class_maps import ClassMaps
from ...data.images import decode_mask
from ...errors import InputError
from ...metrics import RULE, THRESHOLDS, VOID, BoundaryScore, ThresholdCurve, mean_ious, summarize
from ...ops.maps import best_class
from ...ray_runtime import cluster
from ...records.schema import PARTS, Score
from ...storage.artifact import Artifact

COUNTS = "counts.npz"
LABELS = "labels"
"""The stage whose artifacts hold labels, not class maps."""
COLUMNS = ("id", "height", "width", "mask", "parts")


@dataclass
class Tally:
    """The counts of some images: the threshold curve, and activated pixels by kind of part.

    `parts` int64 `[3,T+1]`: pixels of each kind by how many thresholds their own class exceeds
    (0 where another class or none wins).
    """

    curve: ThresholdCurve
    parts: NDArray[np.int64]
    boundary: BoundaryScore
    images: int = 0

    @classmethod
    def empty(cls, classes: int) -> Tally:
        parts = np.zeros((len(PARTS), len(THRESHOLDS) + 1), np.int64)
        return cls(ThresholdCurve(classes), parts, BoundaryScore(classes))

    def add(
        self, target: Tensor, score: Tensor, best: Tensor, parts: NDArray[np.uint8] | None
    ) -> None:
        """Counts one image, `[H,W]` all, as `ThresholdCurve.update`; `parts` as in scenes."""
        self.curve.update(target, score, best)
        self.images += 1
        if parts is not None:
            below = self.curve.steps.below(score.numpy()) * (best.numpy() == parts // 4)
            for kind in range(len(PARTS)):
                chosen = below[parts % 4 == kind + 1]
                self.parts[kind] += np.bincount(chosen, minlength=self.parts.shape[1])

    def merge(self, other: Tally) -> None:
        self.curve.merge(other.curve)
        self.parts = self.parts + other.parts
        self.boundary.merge(other.boundary)
        self.images += other.images


def add_image(tally: Tally, found: ClassMaps | NDArray[np.uint8], row: dict[str, Any]) -> None:
    """Counts one image by its class maps or labels; `row` holds its mask and, where the data set
    has them, its parts. Labels count as class maps of 1, so as foreground at every threshold.

    Raises:
        InputError: the image has no mask, or what was found and the mask differ in size.
    """
    if row["mask"] is None:
        raise InputError(f"image {row['id']} has no mask, so its split cannot be scored")
    target = torch.from_numpy(decode_mask(row["mask"], row["id"]))
    if isinstance(found, ClassMaps):
        size = (found.height, found.width)
        score, best = best_class(torch.from_numpy(found.planes), found.classes, size)
    else:
        best = torch.from_numpy(np.where(found == VOID, 0, found).astype(np.uint8))
        score = (best > 0).float()
    if target.shape != score.shape:
        raise InputError(
            f"what was found of {row['id']} is for {tuple(score.shape)}, its mask is "
            f"{tuple(target.shape)}"
        )
    if not isinstance(found, ClassMaps):
        tally.boundary.update(target.numpy(), best.numpy())
    parts = None if row["parts"] is None else decode_mask(row["parts"], row["id"])
    tally.add(target, score, best, parts)


def score_slice(pair: tuple[shards.Slice, str], classes: int, kind: str = "maps") -> Tally:
    """A task: the tally of one slice of the shards and the class maps, or labels, of its images."""
    torch.set_num_threads(1)
    piece, path = pair
    rows = {r["id"]: r for r in shards.read(piece, COLUMNS)}
    tally = Tally.empty(classes)
    found: Iterable[tuple[str, ClassMaps | NDArray[np.uint8]]]
    if kind == "labels":
        found = label_maps.read(path).items()
    else:
        found = ((m.id, m) for m in class_maps.read([Path(path)]))
    for id, of_image in found:
        if id not in rows:
            raise InputError(f"there are class maps of {id}, but no such image")
        add_image(tally, of_image, rows.pop(id))
    if rows:
        raise InputError(f"image {next(iter(rows))} has no class maps in {Path(path).name}")
    return tally


def score(
    folder: Path,
    maps: Artifact,
    pieces: Sequence[shards.Slice],
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: leaves the counts of one split in `folder`."""
    by_name = {p.stem: p for p in maps.files(".parquet")}
    kind = "labels" if maps.manifest["stage"] == LABELS else "maps"
    for piece in pieces:
        if piece.name not in by_name:
            raise InputError(f"class maps of slice {piece.name} are missing")
    pairs = [(piece, str(by_name[piece.name])) for piece in pieces]
    total = Tally.empty(classes)
    for tally in cluster.each(score_slice, pairs, (classes, kind), progress):
        total.merge(tally)
    return leave(folder, total)


def leave(folder: Path, total: Tally) -> dict[str, Any]:
    """Leaves the counts of one split in `folder`."""
    np.savez_compressed(
        folder / COUNTS,
        curve=total.curve.counts,
        parts=total.parts,
        boundary=total.boundary.sums,
    )
    return {"images": total.images}


def read_tally(path: Path, classes: int) -> Tally:
    """The counts in a file of the scoring stage.

    Raises:
        InputError: it is damaged.
    """
    tally = Tally.empty(classes)
    wanted = {"curve": tally.curve.counts, "parts": tally.parts, "boundary": tally.boundary.sums}
    found = {**wanted, **npz.read(path, "curve", "parts")}
    for name, empty in wanted.items():
        if (found[name].shape, found[name].dtype) != (empty.shape, empty.dtype):
            raise InputError(
                f"{path} holds {name} as {found[name].dtype} {found[name].shape}, not as "
                f"{empty.dtype} {empty.shape}"
            )
    tally.curve.counts, tally.parts = found["curve"], found["parts"]
    tally.boundary.sums = found["boundary"]
    return tally


def read_score(
    artifact: Artifact,
    *,
    split: str,
    classes: Sequence[str],
    scored: Sequence[int],
    threshold: float | None = None,
    threshold_from: str = "",
) -> Score:
    """The scores of a split from its counts.

    Args:
        artifact: of the scoring stage.
        split: its name.
        classes: names, background first.
        scored: indices that means run over.
        threshold: of the seed; none: the best on this split.
        threshold_from: the split that the threshold was chosen on, or what else gave it.
    """
    tally = read_tally(artifact.path(COUNTS), len(classes))
    matrices = tally.curve.matrices()
    miou = mean_ious(matrices, scored)
    at = int(np.nanargmax(miou)) if threshold is None else THRESHOLDS.index(threshold)
    best = summarize(matrices[at], scored)
    return Score(
        split=split,
        n=int(artifact.about["images"]),
        classes=tuple(classes),
        scored=tuple(scored),
        rule=RULE,
        thresholds=THRESHOLDS,
        miou=tuple(map(float, miou)),
        threshold=THRESHOLDS[at],
        threshold_from=threshold_from or split,
        iou=tuple(None if v != v else v for v in best.iou),
        false_positives=best.false_positives,
        false_negatives=best.false_negatives,
        precision=best.precision,
        recall=best.recall,
        parts=_shares(tally.parts, at),
        boundary=tally.boundary.mean(scored),
        confusion=tuple(tuple(map(int, row)) for row in matrices[at]),
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
