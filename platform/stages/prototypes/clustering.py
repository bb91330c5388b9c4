"""Distributed k-means of local features: each holder keeps a slice, only sums travel.

Class maps split the features of the images of a class into foreground and context (LPCAM Eq. 2);
both sides of all classes are clustered at once. Memory: a holder keeps where its rows are, rows
themselves up to `limit` bytes, and one block in float32; the rest is read from disk each round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ...data import npz
from ...data.formats import class_maps
from ...data.formats.features import FEATURE_ROWS, open_features, read_feature_rows
from ...errors import InputError
from ...method import Centers, Clustering
from ...ops import kmeans
from ...ops.kmeans import Floats, Halves, Set, Totals
from ...ray_runtime import cluster
from ...storage import artifact_files

Drawn = Mapping[int, frozenset[str]]
CENTERS = "centers.npz"
ROWS_PER_BLOCK = 1 << 15
BYTES_PER_HOLDER = 64 << 20  # fewer are not worth a process's start


@dataclass(frozen=True)
class Block:
    """Rows of one set in one file: what is summed by itself."""

    number: int
    path: str
    rows: NDArray[np.int64]


class Holder:
    """Keeps the features of some files.

    Args:
        files: (number, path) of feature files; a block's number follows from the file's.
        threshold: of the class maps.
        limit: bytes of features kept in memory.
        drawn: the images of each class that count, all if none are given.
    """

    def __init__(
        self,
        files: Sequence[tuple[int, str]],
        threshold: float,
        limit: int,
        drawn: Drawn | None = None,
    ) -> None:
        faiss.omp_set_num_threads(1)
        torch.set_num_threads(1)
        self.blocks: dict[Set, list[Block]] = {}
        self.kept: dict[tuple[Set, int], Halves] = {}
        self.room = limit
        self.peak = 0
        for number, path in files:
            for s, rows in split_rows(Path(path), threshold, drawn).items():
                pieces = np.array_split(rows, -(-len(rows) // ROWS_PER_BLOCK)) if len(rows) else []
                for k, piece in enumerate(pieces):
                    block = Block(number * 4096 + k, path, piece)
                    self.blocks.setdefault(s, []).append(block)

    def sizes(self) -> dict[Set, dict[int, int]]:
        """Rows of each block of each set."""
        return {s: {b.number: len(b.rows) for b in own} for s, own in self.blocks.items()}

    def totals(self, centers: Mapping[Set, Floats], spherical: bool) -> dict[Set, Totals]:
        """The summed totals of this holder's blocks."""
        out: dict[Set, Totals] = {}
        for s, of_set in centers.items():
            for block in self.blocks.get(s, ()):
                rows = self._rows(s, block)
                found = kmeans.block_totals(rows, of_set, block.number, spherical=spherical)
                if s in out:
                    out[s].add(found)
                else:
                    out[s] = found
                self.peak_bytes()
        return out

    def gather(self, places: Mapping[Set, Sequence[tuple[int, int]]]) -> dict[Any, Floats]:
        """The rows at places (block, row) that this holder has, by (set, block, row)."""
        out = {}
        for s, wanted in places.items():
            own = {b.number: b for b in self.blocks.get(s, ())}
            for number, row in wanted:
                if number in own:
                    out[(s, number, row)] = self._rows(s, own[number])[row].astype(np.float32)
        return out

    def peak_bytes(self) -> int:
        """The most private memory (not mapped files) that this process had."""
        status = Path("/proc/self/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.peak = max(self.peak, int(fields["RssAnon"].split()[0]) * 1024)
        return self.peak

    def _rows(self, s: Set, block: Block) -> Halves:
        key = (s, block.number)
        if key in self.kept:
            return self.kept[key]
        rows: Halves = open_features(Path(block.path))[block.rows]
        if rows.nbytes <= self.room:
            self.room -= rows.nbytes
            self.kept[key] = rows
        return rows


def draw(files: Sequence[str], images: int, seed: int) -> Drawn:
    """At most `images` of each class, whatever the files' order."""
    ranks: dict[int, list[tuple[bytes, str]]] = {}
    for path in files:
        for place in read_feature_rows(Path(path).with_suffix(FEATURE_ROWS)):
            for n in place.labels:
                rank = hashlib.sha256(f"{seed} {n} {place.id}".encode()).digest()
                ranks.setdefault(n, []).append((rank, place.id))
    return {n: frozenset(id for _, id in sorted(of)[:images]) for n, of in ranks.items()}


def split_rows(
    path: Path, threshold: float, drawn: Drawn | None = None
) -> dict[Set, NDArray[np.int64]]:
    """Which rows of a feature file belong to which class and side.

    The class map is brought to the feature grid by nearest neighbour; a position that equals
    the threshold belongs to neither side (the authors' code).
    """
    places = {p.id: p for p in read_feature_rows(path.with_suffix(FEATURE_ROWS))}
    rows: dict[Set, list[NDArray[np.int64]]] = {}
    for maps in class_maps.read([path.with_suffix(".parquet")]):
        if not maps.classes:
            continue
        place = places[maps.id]
        planes = torch.from_numpy(maps.planes.astype(np.float32))[None]
        on_grid = F.interpolate(planes, place.grids[0], mode="nearest")[0].flatten(1).numpy()
        for value, plane in zip(maps.classes, on_grid, strict=True):
            if value == 0 or (drawn is not None and maps.id not in drawn[value - 1]):
                continue
            for side, chosen in enumerate((plane > threshold, plane < threshold)):
                at = place.offset + np.flatnonzero(chosen)
                rows.setdefault((value - 1, side), []).append(at)
    return {s: np.concatenate(parts) for s, parts in rows.items()}


class Holders:
    """The holders of one clustering: Ray actors, or one in this process."""

    def __init__(
        self,
        files: Sequence[str],
        threshold: float,
        count: int,
        limit: int,
        drawn: Drawn | None = None,
    ) -> None:
        numbered = list(enumerate(files))
        self.actors: list[Any] = []
        if count == 1:
            self.local = Holder(numbered, threshold, limit, drawn)
        else:
            shares = [numbered[k::count] for k in range(count)]
            self._start([(share, threshold, limit // count, drawn) for share in shares])
        merged: dict[Set, dict[int, int]] = {}
        for sizes in self._ask("sizes"):
            for s, of_set in sizes.items():
                merged.setdefault(s, {}).update(of_set)
        self.sizes = {s: merged[s] for s in sorted(merged)}

    def _start(self, shares: Sequence[tuple[Any, ...]]) -> None:
        import ray

        gpu = kmeans.on_gpu()
        actor = ray.remote(
            num_cpus=0.5,
            num_gpus=min(1.0, cluster.gpus() / len(shares)) if gpu else 0,
            resources=None if gpu else cluster.apart(0.5),
            max_restarts=3,
            max_task_retries=3,
            scheduling_strategy=cluster.anywhere(),
        )(Holder)
        self.actors = [actor.remote(*share) for share in shares]

    def _ask(self, question: str, *given: Any) -> list[Any]:
        """The answers of all holders to one of a holder's methods."""
        if not self.actors:
            return [getattr(self.local, question)(*given)]
        import ray

        shared = [ray.put(value) for value in given]
        answers: list[Any] = ray.get([getattr(a, question).remote(*shared) for a in self.actors])
        return answers

    def totals(self, centers: Mapping[Set, Floats], spherical: bool) -> dict[Set, Totals]:
        out: dict[Set, Totals] = {}
        for part in self._ask("totals", dict(centers), spherical):
            for s, total in part.items():
                if s in out:
                    out[s].add(total)
                else:
                    out[s] = Totals(total.sums.copy(), total.counts.copy(), total.worst)
        return out

    def gather(self, places: Mapping[Set, Sequence[tuple[int, int]]]) -> dict[Set, Floats]:
        found: dict[Any, Floats] = {}
        for part in self._ask("gather", dict(places)):
            found.update(part)
        return {s: np.stack([found[(s, *place)] for place in of]) for s, of in places.items()}

    def peak_bytes(self) -> int:
        """The largest peak of private memory among the holders."""
        peaks: list[int] = self._ask("peak_bytes")
        return max(peaks)

    def close(self) -> None:
        for actor in self.actors:
            import ray

            ray.kill(actor)


def run(
    files: Sequence[str],
    clustering: Clustering,
    *,
    seed: int,
    workers: int | None = None,
    limit: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Set, kmeans.Result]:
    """Clusters both sides of every class.

    Args:
        files: feature files (NAME.npy with NAME.json and NAME.parquet beside it).
        clustering: how.
        seed: of the initial centres, and of the images if not all count.
        workers: holders, none: by the size of the files; the result does not depend on it.
        limit: bytes of features that all holders together keep in memory.
        progress: called with (rounds done, rounds at most).
    """
    size = sum(artifact_files.size(Path(path)) for path in files)
    wanted = workers or min(cluster.workers(), -(-size // BYTES_PER_HOLDER))
    count = max(1, min(wanted, len(files)))
    drawn = draw(files, clustering.images, seed) if clustering.images else None
    holders = Holders(files, clustering.threshold, count, limit, drawn)
    rounds = 0

    def totals(centers: Mapping[Set, Floats]) -> dict[Set, Totals]:
        nonlocal rounds
        rounds += 1
        if progress:
            progress(rounds, clustering.max_iterations)
        return holders.totals(centers, clustering.spherical)

    try:
        return kmeans.lloyd(
            holders.sizes,
            totals,
            holders.gather,
            clusters=clustering.clusters,
            seed=seed,
            tolerance=clustering.tolerance,
            max_iterations=clustering.max_iterations,
        )
    finally:
        holders.close()


def cluster_features(
    folder: Path,
    features: Sequence[Path],
    clustering: Clustering,
    seed: int,
    limit: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The clustering stage: centres of each class in `folder`, and a log of each set; `limit` as
    in `run`."""
    found = run([str(p) for p in features], clustering, seed=seed, limit=limit, progress=progress)
    centers: dict[str, Any] = {f"{n}-{side}": r.centers for (n, side), r in found.items()}
    np.savez(folder / CENTERS, **centers)
    sides = ("foreground", "context")
    return {
        f"{n}-{sides[side]}": {
            "features": int(r.counts.sum()),
            "centers": len(r.centers),
            "rounds": r.rounds,
            "converged": r.converged,
        }
        for (n, side), r in sorted(found.items())
    }


def read_centers(path: Path) -> dict[int, Centers]:
    """The centres of each class (0-based) of a clustering artifact.

    Raises:
        InputError: it is missing or damaged.
    """
    found: dict[Set, torch.Tensor] = {}
    for name, array in npz.read(path).items():
        if not re.fullmatch(r"\d{1,3}-[01]", name) or array.ndim != 2 or array.dtype.kind != "f":
            raise InputError(f"{path} holds {name!r} {array.shape}, which are no centres")
        n, side = map(int, name.split("-"))
        found[n, side] = torch.from_numpy(array)
    widths = {of.shape[1] for of in found.values()}
    if len(widths) != 1:
        raise InputError(f"{path} holds no centres of one width")
    none = torch.zeros(0, *widths)
    return {
        n: Centers(foreground=found.get((n, 0), none), context=found.get((n, 1), none))
        for n in sorted({n for n, _ in found})
    }
