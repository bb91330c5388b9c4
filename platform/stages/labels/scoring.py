"""Scoring of labels, or of class maps at every threshold in one pass, against masks; Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from ...labels import VOID
from ...metrics import RULE, THRESHOLDS, BoundaryScore, ThresholdCurve, mean_ious, summarize
from ...ops.maps import best_class
from ...ray_runtime import cluster
from ...records.schema import PARTS, Score
from ...storage.artifact import Artifact
from ...storage.artifact_files import ArtifactFile, ArtifactFolder

COUNTS = "counts.npz"
LABELS_STAGE = "labels"
"""Name of the stage whose artifacts hold labels; other stages give class maps."""
COLUMNS = ("id", "height", "width", "mask", "parts")
"""Columns of the shards that scoring reads."""


@dataclass
class Tally:
    """Counts of some images, from which all scores follow.

    Attributes:
        curve: confusion counts at each threshold.
        parts: int64 `[3,T+1]`: for each kind of object part, the pixels by the number of thresholds
            that the score of their class exceeds (0 where another class or none wins).
        boundary: sums of the boundary score; labels only.
        images: number of images.
    """

    curve: ThresholdCurve
    parts: NDArray[np.int64]
    boundary: BoundaryScore
    images: int = 0

    @classmethod
    def empty(cls, classes: int) -> Tally:
        """Return a tally of no images, for `classes` classes, background included."""
        part_counts = np.zeros((len(PARTS), len(THRESHOLDS) + 1), np.int64)
        return cls(ThresholdCurve(classes), part_counts, BoundaryScore(classes))

    def add(
        self, target: Tensor, score: Tensor, best: Tensor, parts: NDArray[np.uint8] | None
    ) -> None:
        """Count one image; all arguments are `[H,W]`.

        Args:
            target, score, best: see `ThresholdCurve.update`.
            parts: part map of the data set `scenes`; None where a data set has none.
        """
        self.curve.update(target, score, best)
        self.images += 1
        if parts is not None:
            below = self.curve.steps.below(score.numpy()) * (best.numpy() == parts // 4)
            for kind in range(len(PARTS)):
                chosen = below[parts % 4 == kind + 1]
                self.parts[kind] += np.bincount(chosen, minlength=self.parts.shape[1])

    def add_labels(
        self,
        target: NDArray[np.uint8],
        by_threshold: Iterable[NDArray[np.uint8]],
        parts: NDArray[np.uint8] | None,
    ) -> None:
        """Count one image whose labels at a threshold are no cut of one score.

        Args:
            target: `[H,W]`, 0..C-1 or 255.
            by_threshold: labels `[H,W]` at each of THRESHOLDS.
            parts: see `add`.
        """
        active: list[list[int]] = []

        def counted() -> Iterator[NDArray[np.uint8]]:
            for labels in by_threshold:
                if parts is not None:
                    hit = (labels > 0) & (labels == parts // 4)
                    kinds = np.bincount(parts[hit] % 4, minlength=len(PARTS) + 1)
                    active.append(kinds[1:].tolist())
                yield labels

        self.curve.update_labels(torch.from_numpy(target), counted())
        self.images += 1
        if parts is not None:
            totals = np.bincount(parts.ravel() % 4, minlength=len(PARTS) + 1)[1:]
            steps = np.array([totals.tolist(), *active, [0] * len(PARTS)]).T
            self.parts += steps[:, :-1] - steps[:, 1:]

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.curve.merge(other.curve)
        self.parts = self.parts + other.parts
        self.boundary.merge(other.boundary)
        self.images += other.images


def true_mask(row: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the mask `[H,W]` of an image, with which a result is compared.

    Raises:
        InputError: the image has no mask.
    """
    if row["mask"] is None:
        raise InputError(
            f"image {row['id']} has no mask, so its split cannot be scored; choose other splits in "
            "scoring.splits"
        )
    return decode_mask(row["mask"], row["id"])


def add_image(tally: Tally, prediction: ClassMaps | NDArray[np.uint8], row: dict[str, Any]) -> None:
    """Count one image by its class maps or labels.

    Labels count as class maps of 1, that is as foreground at every threshold.

    Args:
        tally: takes the counts.
        prediction: class maps, or labels `[H,W]`.
        row: row of the shard, with the mask and, where the data set has one, the part map.

    Raises:
        InputError: the image has no mask, or prediction and mask differ in size.
    """
    target = torch.from_numpy(true_mask(row))
    if isinstance(prediction, ClassMaps):
        size = (prediction.height, prediction.width)
        score, best = best_class(torch.from_numpy(prediction.planes), prediction.classes, size)
    else:
        best = torch.from_numpy(np.where(prediction == VOID, 0, prediction).astype(np.uint8))
        score = (best > 0).float()
    if target.shape != score.shape:
        raise InputError(
            f"the prediction for image {row['id']} has the size {tuple(score.shape)}, but its mask "
            f"has {tuple(target.shape)}"
        )
    if not isinstance(prediction, ClassMaps):
        tally.boundary.update(target.numpy(), best.numpy())
    parts = None if row["parts"] is None else decode_mask(row["parts"], row["id"])
    tally.add(target, score, best, parts)


def score_slice(pair: tuple[shards.Slice, ArtifactFile], classes: int, kind: str = "maps") -> Tally:
    """Count the images of one slice; a Ray task.

    Args:
        pair: the slice of the shards, and the file with class maps or labels of its images.
        classes: number of classes, background included.
        kind: "maps" or "labels", what the file holds.

    Raises:
        InputError: an image has no mask, or shards and file hold different images.
    """
    torch.set_num_threads(1)
    piece, file = pair
    rows = {row["id"]: row for row in shards.read(piece, COLUMNS)}
    tally = Tally.empty(classes)
    predictions: Iterable[tuple[str, ClassMaps | NDArray[np.uint8]]]
    if kind == "labels":
        predictions = label_maps.read(file.local()).items()
    else:
        predictions = ((maps.id, maps) for maps in class_maps.read([file.local()]))
    for id, prediction in predictions:
        if id not in rows:
            raise InputError(
                f"{file.name} has class maps of {id}, but {piece.name} has no such image"
            )
        add_image(tally, prediction, rows.pop(id))
    if rows:
        raise InputError(f"image {next(iter(rows))} has no class maps in {file.name}")
    return tally


def score(
    folder: ArtifactFolder,
    maps: Artifact,
    pieces: Sequence[shards.Slice],
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Count the images of a split with Ray tasks and write the counts.

    Args:
        folder: empty folder that takes the file of counts.
        maps: artifact of class maps or of labels.
        pieces: slices of the split.
        classes: number of classes, background included.
        progress: called with (slices done, slices in all).

    Returns:
        Facts about the artifact for its manifest.

    Raises:
        InputError: class maps are missing, or an image cannot be scored.
    """
    by_name = {file.stem: file for file in maps.files(".parquet")}
    kind = "labels" if maps.manifest["stage"] == LABELS_STAGE else "maps"
    for piece in pieces:
        if piece.name not in by_name:
            raise InputError(f"class maps of slice {piece.name} are missing")
    pairs = [(piece, by_name[piece.name]) for piece in pieces]
    total = Tally.empty(classes)
    for tally in cluster.map_tasks(score_slice, pairs, (classes, kind), progress):
        total.merge(tally)
    return write_tally(folder, total)


def write_tally(folder: ArtifactFolder, tally: Tally) -> dict[str, Any]:
    """Write the counts of one split.

    Args:
        folder: folder that takes the file of counts.
        tally: the counts.

    Returns:
        Facts about the artifact for its manifest.
    """
    counts: dict[str, Any] = {
        "curve": tally.curve.counts,
        "parts": tally.parts,
        "boundary": tally.boundary.sums,
    }
    (folder / COUNTS).write(lambda stream: np.savez_compressed(stream, **counts))
    return {"images": tally.images}


def read_tally(path: Path, classes: int) -> Tally:
    """Return the counts in a file of the scoring stage.

    Args:
        path: the file.
        classes: number of classes, background included.

    Raises:
        InputError: the file is damaged.
    """
    tally = Tally.empty(classes)
    empty_counts = {
        "curve": tally.curve.counts,
        "parts": tally.parts,
        "boundary": tally.boundary.sums,
    }
    counts = {**empty_counts, **npz.read(path, "curve", "parts")}
    for name, empty in empty_counts.items():
        if (counts[name].shape, counts[name].dtype) != (empty.shape, empty.dtype):
            raise InputError(
                f"{path} holds {name} as {counts[name].dtype} {counts[name].shape}, not as "
                f"{empty.dtype} {empty.shape}"
            )
    tally.curve.counts, tally.parts = counts["curve"], counts["parts"]
    tally.boundary.sums = counts["boundary"]
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
    """Return the scores of a split from its counts.

    Args:
        artifact: artifact of the scoring stage.
        split: name of the split.
        classes: class names, background first.
        scored: indices of the classes that means are taken over.
        threshold: threshold of the seeds; None takes the one with the best mIoU on this split.
        threshold_from: split that the threshold was chosen on, or another origin of it.

    Raises:
        InputError: the file of counts is damaged, or no pixel of the split tells a score.
    """
    tally = read_tally(artifact.file(COUNTS).local(), len(classes))
    miou = mean_ious(matrices := tally.curve.matrices(), scored)
    index = _threshold_number(miou, split, threshold)
    summary = summarize(matrices[index], scored)
    return Score(
        split=split,
        n=int(artifact.about["images"]),
        classes=tuple(classes),
        scored=tuple(scored),
        rule=RULE,
        thresholds=THRESHOLDS,
        miou=tuple(map(float, miou)),
        threshold=THRESHOLDS[index],
        threshold_from=threshold_from or split,
        iou=tuple(None if iou != iou else iou for iou in summary.iou),
        false_positives=summary.false_positives,
        false_negatives=summary.false_negatives,
        precision=summary.precision,
        recall=summary.recall,
        parts=_shares(tally.parts, index),
        boundary=tally.boundary.mean(scored),
        confusion=tuple(tuple(map(int, row)) for row in matrices[index]),
    )


def _threshold_number(miou: NDArray[np.float64], split: str, threshold: float | None) -> int:
    """Return the number of a threshold, or of the best one without a threshold.

    Raises:
        InputError: no pixel of the split tells a score.
    """
    if np.isnan(miou).all():
        raise InputError(
            f"split {split!r} cannot be scored, because no known pixel of its masks has a scored "
            "class; correct the masks, or name other splits in scoring.splits or classes in "
            "scoring.classes"
        )
    return int(np.nanargmax(miou)) if threshold is None else THRESHOLDS.index(threshold)


def _shares(parts: NDArray[np.int64], index: int) -> dict[str, float] | None:
    """Return the activated share of each kind of part at threshold number `index`.

    None is returned where the data set has no part maps."""
    totals = parts.sum(1)
    shares = {
        kind: float(parts[number, index + 1 :].sum() / totals[number])
        for number, kind in enumerate(PARTS)
        if totals[number]
    }
    return shares or None
