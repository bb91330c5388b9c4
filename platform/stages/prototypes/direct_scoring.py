"""Scoring of chosen prototypes straight from similarities, in this process.

The counts are the same as for the class maps that `class_maps` would write, but no maps are
written. Masks stay in memory. So do the counts of images whose classes have the same prototypes as
before, because a sweep over the choice of prototypes needs them again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...config.experiment import Enlarging
from ...data.formats import shards
from ...data.formats.features import FeatureRows
from ...data.images import decode_mask
from ...ops.maps import best_class
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..labels import scoring
from . import similarities
from .class_maps import place_maps
from .similarities import Similar

MAX_PIXELS = 1 << 30
"""Most pixels of masks that are kept in memory; a larger split is scored by its class maps."""
MAX_COUNTS = 1024
"""Most counts that are kept in memory, one for each set of classes and their prototypes."""
Prototypes = tuple[tuple[int, bytes], ...]
"""Weights of the centres as bytes, by class."""


@dataclass(frozen=True)
class Image:
    """One image of a split.

    Attributes:
        place: index entry of the image: its classes, size and feature grids.
        similar: similarities `[R,P]` for each of its classes.
        target: mask `[H,W]`.
        parts: part map `[H,W]`, if the data set has one.
    """

    place: FeatureRows
    similar: list[Similar]
    target: Tensor
    parts: NDArray[np.uint8] | None


@dataclass(frozen=True)
class SparseTally:
    """A tally in little memory.

    Attributes:
        indices, values: positions and values of the threshold curve's flattened counts that are not
            zero.
        parts: see `scoring.Tally`.
        images: number of images.
    """

    indices: NDArray[np.int64]
    values: NDArray[np.int64]
    parts: NDArray[np.int64]
    images: int


class Split:
    """The images of a split, grouped by their classes.

    Args:
        files: files of similarities.
        pieces: slices of the shards, one for each file.
        widths: (class, number of its centres).
        classes: number of classes, background included.
        enlarging: see `class_maps.place_maps`.

    Raises:
        InputError: an image has no mask.
    """

    def __init__(
        self,
        files: Sequence[ArtifactFile],
        pieces: Sequence[shards.Slice],
        widths: Sequence[tuple[int, int]],
        classes: int,
        enlarging: Enlarging = "stretch",
    ) -> None:
        self.classes, self.enlarging = classes, enlarging
        self.groups: dict[tuple[int, ...], list[Image]] = {}
        for file, piece in zip(files, pieces, strict=True):
            rows = {r["id"]: r for r in shards.read(piece, scoring.COLUMNS)}
            for place, blocks in similarities.read(file, dict(widths)):
                row = rows[place.id]
                target = torch.from_numpy(scoring.true_mask(row))
                parts = row["parts"] and decode_mask(row["parts"], place.id)
                image = Image(place, blocks, target, parts)
                self.groups.setdefault(place.labels, []).append(image)
        self.counted: dict[tuple[tuple[int, ...], Prototypes], SparseTally] = {}

    def tally(self, shares: Mapping[int, Tensor]) -> scoring.Tally:
        """Return the counts of the split.

        Args:
            shares: weights of the centres by class.
        """
        total = scoring.Tally.empty(self.classes)
        for labels in self.groups:
            class_shares = tuple(
                (label, shares[label].numpy().tobytes()) for label in set(labels) if label in shares
            )
            counts = self.counted.pop((labels, class_shares), None) or self._counted(
                labels, class_shares
            )
            self.counted[labels, class_shares] = counts  # the latest comes last
            if len(self.counted) > MAX_COUNTS:
                del self.counted[next(iter(self.counted))]
            total.curve.counts.reshape(-1)[counts.indices] += counts.values
            total.parts += counts.parts
            total.images += counts.images
        return total

    def _counted(self, labels: tuple[int, ...], class_shares: Prototypes) -> SparseTally:
        shares = {
            label: torch.frombuffer(bytearray(data), dtype=torch.float32)
            for label, data in class_shares
        }
        tally = scoring.Tally.empty(self.classes)
        for image in self.groups[labels]:
            maps = place_maps(image.place, image.similar, shares, self.enlarging)
            size = (maps.height, maps.width)
            best = best_class(torch.from_numpy(maps.planes), maps.classes, size)
            tally.add(image.target, *best, image.parts)
        flat = tally.curve.counts.reshape(-1)
        indices = np.flatnonzero(flat)
        return SparseTally(indices, flat[indices], tally.parts, tally.images)


cached_split = lru_cache(1)(Split)
"""Function that makes a `Split`, or returns the last one if its arguments are the same."""


def fits(pieces: tuple[shards.Slice, ...]) -> bool:
    """Return whether the masks of a split may be kept in memory."""
    return mask_bytes(pieces) <= MAX_PIXELS


@lru_cache(4)
def mask_bytes(pieces: tuple[shards.Slice, ...]) -> int:
    """Return the memory in bytes of the masks of a split, one for each pixel."""
    pixels = 0
    for piece in pieces:
        rows = shards.read(piece, ("height", "width"))
        pixels += sum(row["height"] * row["width"] for row in rows)
    return pixels


def compute(
    folder: ArtifactFolder,
    files: Sequence[ArtifactFile],
    pieces: Sequence[shards.Slice],
    shares: Mapping[int, Tensor],
    classes: int,
    enlarging: Enlarging,
) -> dict[str, Any]:
    """Count the images of a split and write the counts, as `scoring.score` does.

    Args:
        folder: empty folder that takes the file of counts.
        files: NAME.npy files of a similarity artifact.
        pieces: slices of the split.
        shares: weights of the centres by class.
        classes: number of classes, background included.
        enlarging: see `class_maps.place_maps`.

    Returns:
        Facts about the artifact for its manifest.
    """
    torch.set_num_threads(1)
    by_name = {file.stem: file for file in files}
    widths = tuple((label, len(class_shares)) for label, class_shares in shares.items())
    in_order = tuple(by_name[piece.name] for piece in pieces)
    split = cached_split(in_order, tuple(pieces), widths, classes, enlarging)
    tally = split.tally(shares)
    return scoring.write_tally(folder, tally)
