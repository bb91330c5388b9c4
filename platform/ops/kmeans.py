"""K-means by cosine over features that lie in fixed blocks, as in LPCAM.

Assignment is by cosine to the centre; a centre is the mean of its raw features (LPCAM's library;
`spherical` takes unit features instead). The result does not depend on how blocks are spread
over workers: each block is summed by itself, its sums are rounded to a fixed grid, and sums on
that grid add up exactly in float64 in any order.
Shapes: R rows of a block, D channels, K centres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
FeatureSet = tuple[int, int]
"""A set of features: a class, and 0 for its foreground or 1 for its context."""

STEPS_PER_UNIT = 2.0**14
"""Steps per unit of the grid to which sums are rounded."""
FITTING_COSINE = 1 - 1e-5
"""Cosine from which a row needs no centre of its own."""


@dataclass
class Totals:
    """Sums of the rows that were assigned to each centre of one set.

    Attributes:
        sums: float64 `[K,D]`.
        counts: `[K]`, rows of each centre.
        worst: cosine, block and row of the row that fits its centre worst; a zero row fits any
            centre.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    worst: tuple[float, int, int]

    def add(self, other: Totals) -> None:
        """Add the totals of another block, in place."""
        self.sums += other.sums
        self.counts += other.counts
        self.worst = min(self.worst, other.worst)


def unit_rows(rows: Floats) -> Floats:
    """Scale rows to length one; zero rows stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    out: Floats = (rows / np.where(length > 0, length, 1)).astype(np.float32)
    return out


def assign(rows: Floats, centers: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Find the nearest centre of each row with faiss.

    Args:
        rows: `[R,D]`.
        centers: `[K,D]`.

    Returns:
        `[R]`, the cosine to the nearest centre times the length of the row; `[R]`, the number of
        the nearest centre.
    """
    index: faiss.Index = faiss.IndexFlatIP(centers.shape[1])
    index.add(unit_rows(centers))
    similarity, nearest = index.search(rows, 1)
    return similarity[:, 0], nearest[:, 0]


def block_totals(block: Halves, centers: Floats, number: int, *, spherical: bool = False) -> Totals:
    """Assign the rows of one block to their nearest centres and sum them by centre.

    Args:
        block: float16 `[R,D]`.
        centers: `[K,D]`.
        number: number of the block.
        spherical: sum unit features instead of raw features.
    """
    rows = torch.from_numpy(block).float().numpy()
    similarity, nearest = assign(rows, centers)
    length = np.linalg.norm(rows, axis=1)
    cosine = np.where(length > 0, similarity / np.where(length > 0, length, 1), 1)
    one_hot = np.zeros((len(centers), len(rows)), np.float32)
    one_hot[nearest, np.arange(len(rows))] = 1 / np.where(length > 0, length, 1) if spherical else 1
    sums = np.rint((one_hot @ rows).astype(np.float64) * STEPS_PER_UNIT) / STEPS_PER_UNIT
    lowest = int(cosine.argmin())
    return Totals(
        sums=sums,
        counts=np.bincount(nearest, minlength=len(centers)),
        worst=(float(cosine[lowest]), number, lowest),
    )


def device_totals(
    blocks: Iterable[tuple[int, Tensor]], centers: Floats, *, spherical: bool = False
) -> Totals:
    """Return the sum of `block_totals` of blocks that lie on a device, which computes all of it.

    Args:
        blocks: number and features, float16 `[R,D]`, of each block; at least one.
        centers: `[K,D]`.
        spherical: sum unit features instead of raw features.
    """
    sums, counts, lowest, numbers = [], [], [], []
    for number, block in blocks:
        rows = block.float()
        directions = torch.from_numpy(unit_rows(centers)).to(rows.device)
        similarity, nearest = (rows @ directions.T).max(dim=1)
        length = rows.norm(dim=1)
        safe = torch.where(length > 0, length, 1)
        cosine = torch.where(length > 0, similarity / safe, 1)
        weights = 1 / safe if spherical else torch.ones_like(safe)
        one_hot = rows.new_zeros(len(rows), len(centers)).scatter_(
            1, nearest[:, None], weights[:, None]
        )
        sums.append(((one_hot.T @ rows).double() * STEPS_PER_UNIT).round() / STEPS_PER_UNIT)
        counts.append(torch.bincount(nearest, minlength=len(centers)))
        lowest.append(torch.stack([cosine.min().double(), cosine.argmin().double()]))
        numbers.append(number)
    worst = torch.stack(lowest).tolist()
    return Totals(
        sums=torch.stack(sums).sum(0).cpu().numpy(),
        counts=torch.stack(counts).sum(0).cpu().numpy(),
        worst=min((cosine, n, int(row)) for n, (cosine, row) in zip(numbers, worst, strict=True)),
    )


@dataclass
class Clusters:
    """The clustering of one set.

    Attributes:
        centers: `[K,D]`.
        counts: `[K]`, rows of each centre.
        rounds: rounds that were taken.
        converged: whether the centres settled within the largest number of rounds.
    """

    centers: Floats
    counts: NDArray[np.int64]
    rounds: int
    converged: bool


def lloyd(
    sizes: Mapping[FeatureSet, Mapping[int, int]],
    totals: Callable[[Mapping[FeatureSet, Floats]], Mapping[FeatureSet, Totals]],
    gather: Callable[[Mapping[FeatureSet, Sequence[tuple[int, int]]]], Mapping[FeatureSet, Floats]],
    *,
    clusters: int,
    seed: int,
    tolerance: float = 1e-3,
    shift: float | None = None,
    max_iterations: int = 100,
) -> dict[FeatureSet, Clusters]:
    """Cluster many sets at once with Lloyd's algorithm; sets without rows give no result.

    Args:
        sizes: number of rows by set and block.
        totals: assigns all rows of the given sets to the given centres and sums them.
        gather: returns the rows at the given positions (block, row) of each set.
        clusters: K; a set with at most K rows has its rows as centres.
        seed: random seed for the initial centres, which are K random rows.
        tolerance: a set is done when its centres move by at most this share of their length.
        shift: the square of the summed movement that ends it instead; None: `tolerance` holds.
        max_iterations: largest number of rounds.
    """
    full = {s: rows for s, rows in sizes.items() if sum(rows.values())}
    active = dict(gather({s: _initial(rows, clusters, seed, s) for s, rows in full.items()}))
    counts: dict[FeatureSet, NDArray[np.int64]] = {}
    done: dict[FeatureSet, Clusters] = {}
    for round_ in range(1, max_iterations + 1):
        if not active:
            break
        refill: dict[FeatureSet, list[tuple[int, int]]] = {}
        for s, total in totals(active).items():
            moved, length, active[s] = _move_centers(active[s], total)
            counts[s], filled = total.counts, total.counts > 0
            spare = len(filled) < sum(full[s].values()) and total.worst[0] < FITTING_COSINE
            if spare and not filled.all():
                refill[s] = [total.worst[1:]]
            elif moved <= tolerance * length if shift is None else moved**2 < shift:
                done[s] = Clusters(active[s][filled], total.counts[filled], round_, True)
        for s, row in gather(refill).items() if refill else ():
            active[s][int(np.argmin(counts[s]))] = row[0]
        active = {s: c for s, c in active.items() if s not in done}
    for s, last in active.items():
        done[s] = Clusters(last[counts[s] > 0], counts[s][counts[s] > 0], max_iterations, False)
    return done


def _move_centers(old: Floats, total: Totals) -> tuple[float, float, Floats]:
    """Return the centres' summed movement, their summed length before it, and the new centres.

    A centre without rows stays where it is.
    """
    means = total.sums / np.maximum(total.counts, 1)[:, None]
    new = np.where((total.counts > 0)[:, None], means, old).astype(np.float32)
    length = np.linalg.norm(old, axis=1).sum()
    return float(np.linalg.norm(new - old, axis=1).sum()), float(length), new


def _initial(
    rows: Mapping[int, int], clusters: int, seed: int, s: FeatureSet
) -> list[tuple[int, int]]:
    """Draw the positions (block, row) of K distinct random rows of a set."""
    numbers = sorted(rows)
    ends = np.cumsum([rows[n] for n in numbers])
    rng = np.random.default_rng([seed, *s])
    picks = np.sort(rng.choice(int(ends[-1]), min(clusters, int(ends[-1])), replace=False))
    ranks = np.searchsorted(ends, picks, side="right")
    starts = np.concatenate([[0], ends])
    return [(numbers[k], int(p - starts[k])) for k, p in zip(ranks, picks, strict=True)]
