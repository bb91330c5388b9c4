"""Scores of chosen prototypes straight from similarities, in this process.

The counts are those of the maps that `class_maps` would write, but nothing else is written. Masks
stay in memory, and so do the counts of images whose classes have the same prototypes as before:
what a sweep over the choice asks for again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.formats import shards
from ...data.formats.features import FeatureRows
from ...data.images import decode_mask
from ...errors import InputError
from ...ops.maps import best_class
from ..labels import scoring
from . import similarities
from .class_maps import place_maps
from .similarities import Similar

LIMIT = 1 << 30
"""Pixels of masks that are kept in memory; a larger split is scored by its maps."""
KEPT = 1024
"""Counts that are kept, of images of the same classes with the same prototypes."""
Prototypes = tuple[tuple[int, bytes], ...]
"""Of each class its shares, as bytes."""


@dataclass(frozen=True)
class Image:
    """One image: its similarities, its mask `[H,W]`, its parts."""

    place: FeatureRows
    similar: list[Similar]
    target: Tensor
    parts: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Counted:
    """A tally, of which `values` holds the threshold curve where it is not zero."""

    places: NDArray[np.int64]
    values: NDArray[np.int64]
    parts: NDArray[np.int64]
    images: int


class Split:
    """The images of a split, by their classes.

    Args:
        files: of the similarities.
        pieces: of the shards, one a file.
        widths: (class, its centres).
        classes: of the scores, background included.

    Raises:
        InputError: an image has no mask.
    """

    def __init__(
        self,
        files: Sequence[str],
        pieces: Sequence[shards.Slice],
        widths: Sequence[tuple[int, int]],
        classes: int,
    ) -> None:
        self.classes = classes
        self.groups: dict[tuple[int, ...], list[Image]] = {}
        for file, piece in zip(files, pieces, strict=True):
            rows = {r["id"]: r for r in shards.read(piece, scoring.COLUMNS)}
            for place, blocks in similarities.read(Path(file), dict(widths)):
                row = rows[place.id]
                if row["mask"] is None:
                    raise InputError(f"image {place.id} has no mask, so its split cannot be scored")
                target = torch.from_numpy(decode_mask(row["mask"], place.id))
                parts = row["parts"] and decode_mask(row["parts"], place.id)
                image = Image(place, blocks, target, parts)
                self.groups.setdefault(place.labels, []).append(image)
        self.counted: dict[tuple[tuple[int, ...], Prototypes], Counted] = {}

    def tally(self, shares: Mapping[int, Tensor]) -> scoring.Tally:
        """The counts where centres count as `shares` say."""
        total = scoring.Tally.empty(self.classes)
        for labels in self.groups:
            own = tuple((n, shares[n].numpy().tobytes()) for n in set(labels) if n in shares)
            found = self.counted.pop((labels, own), None) or self._counted(labels, own)
            self.counted[labels, own] = found  # the one that was asked for last comes last
            if len(self.counted) > KEPT:
                del self.counted[next(iter(self.counted))]
            total.curve.counts.reshape(-1)[found.places] += found.values
            total.parts += found.parts
            total.images += found.images
        return total

    def _counted(self, labels: tuple[int, ...], own: Prototypes) -> Counted:
        shares = {n: torch.frombuffer(bytearray(of), dtype=torch.float32) for n, of in own}
        tally = scoring.Tally.empty(self.classes)
        for image in self.groups[labels]:
            found = place_maps(image.place, image.similar, shares)
            size = (found.height, found.width)
            best = best_class(torch.from_numpy(found.planes), found.classes, size)
            tally.add(image.target, *best, image.parts)
        flat = tally.curve.counts.reshape(-1)
        places = np.flatnonzero(flat)
        return Counted(places, flat[places], tally.parts, tally.images)


split = lru_cache(1)(Split)
"""The split with such arguments; the last one is kept."""


@lru_cache(4)
def fits(pieces: tuple[shards.Slice, ...]) -> bool:
    """Whether the masks of a split may be kept in memory."""
    pixels = 0
    for piece in pieces:
        rows = shards.read(piece, ("height", "width"))
        pixels += sum(r["height"] * r["width"] for r in rows)
    return pixels <= LIMIT


def compute(
    folder: Path,
    files: Sequence[Path],
    pieces: Sequence[shards.Slice],
    shares: Mapping[int, Tensor],
    classes: int,
) -> dict[str, Any]:
    """The stage: leaves the counts of one split in `folder`, as `scoring.score` does.

    Args:
        folder: empty.
        files: the NAME.npy files of a similarity artifact.
        pieces: of the split.
        shares: what centres count.
        classes: background included.
    """
    torch.set_num_threads(1)
    by_name = {p.stem: str(p) for p in files}
    widths = tuple((n, len(of_class)) for n, of_class in shares.items())
    names = tuple(by_name[piece.name] for piece in pieces)
    tally = split(names, tuple(pieces), widths, classes).tally(shares)
    return scoring.leave(folder, tally)
