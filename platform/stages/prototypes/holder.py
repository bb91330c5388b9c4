"""The part of the features of a clustering that one process holds, on a CPU or on a GPU.

A holder keeps in memory the numbers of its rows, the rows themselves up to a limit in bytes, and
one block in float32. It reads the other rows from disk in each round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.formats.features import open_features
from ...ops import kmeans
from ...ops.kmeans import FeatureSet, Floats, Halves, Totals
from ...ray_runtime.worker_errors import sendable
from ...storage.artifact_files import ArtifactFile
from .feature_sets import Drawn, split_rows

ROWS_PER_BLOCK = 1 << 15
FREE_SHARE = 0.8
"""Share of a GPU's free memory that features may take; a block in float32 takes the rest."""


@dataclass(frozen=True)
class Block:
    """Rows of one set in one feature file; a block is summed by itself."""

    number: int
    file: ArtifactFile
    rows: NDArray[np.int64]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread of faiss and torch, because each core has a holder or a stage."""
    threads = faiss.omp_get_max_threads(), torch.get_num_threads()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads[0])
        torch.set_num_threads(threads[1])


class Holder:
    """A part of the features of a clustering, in one process.

    Args:
        files: (number, file) of feature files; the numbers of the blocks follow from it.
        threshold: threshold of the class maps between foreground and context.
        limit: most bytes of features that are kept in memory.
        drawn: images that count, by class; without it all images count.
        device: device that keeps and sums features, "cuda" or "cpu"; None: faiss and numpy do.
    """

    def __init__(
        self,
        files: Sequence[tuple[int, ArtifactFile]],
        threshold: float,
        limit: int,
        drawn: Drawn | None = None,
        device: str | None = None,
    ) -> None:
        self.files, self.threshold, self.drawn = files, threshold, drawn
        self.device = device
        self.cached: dict[tuple[FeatureSet, int], Halves] = {}
        self.on_device: dict[tuple[FeatureSet, int], Tensor] = {}
        self.free = limit

    @cached_property
    def blocks(self) -> dict[FeatureSet, list[Block]]:
        """The blocks by set, read late, because an error at an actor's start loses its kind."""
        blocks: dict[FeatureSet, list[Block]] = {}
        for number, file in self.files:
            for group, rows in split_rows(file, self.threshold, self.drawn).items():
                pieces = np.array_split(rows, -(-len(rows) // ROWS_PER_BLOCK)) if len(rows) else []
                for k, piece in enumerate(pieces):
                    block = Block(number * 4096 + k, file, piece)
                    blocks.setdefault(group, []).append(block)
        return blocks

    @sendable
    def sizes(self) -> dict[FeatureSet, dict[int, int]]:
        """Return the number of rows of each block, by set."""
        return {
            group: {block.number: len(block.rows) for block in blocks}
            for group, blocks in self.blocks.items()
        }

    @sendable
    @one_thread()
    def totals(
        self, centers: Mapping[FeatureSet, Floats], spherical: bool
    ) -> dict[FeatureSet, Totals]:
        """Assign this holder's rows to their nearest centres and return the sums.

        Args:
            centers: `[K,D]` by set.
            spherical: whether unit features are summed instead of raw ones.

        Returns:
            The totals by set.
        """
        totals: dict[FeatureSet, Totals] = {}
        for group, set_centers in centers.items():
            blocks = self.blocks.get(group, ())
            if self.device and blocks:
                tensors = ((block.number, self._tensor(group, block)) for block in blocks)
                totals[group] = kmeans.device_totals(tensors, set_centers, spherical=spherical)
                continue
            for block in blocks:
                block_totals = kmeans.block_totals(
                    self._rows(group, block), set_centers, block.number, spherical=spherical
                )
                if group in totals:
                    totals[group].add(block_totals)
                else:
                    totals[group] = block_totals
        return totals

    @sendable
    def gather(
        self, positions: Mapping[FeatureSet, Sequence[tuple[int, int]]]
    ) -> dict[Any, Floats]:
        """Return the requested rows that this holder has, `[D]` by (set, block, row).

        Args:
            positions: (block, row) of the requested rows, by set.
        """
        features = {}
        for group, set_positions in positions.items():
            blocks = {block.number: block for block in self.blocks.get(group, ())}
            for number, row in set_positions:
                if number in blocks:
                    features[(group, number, row)] = self._row(group, blocks[number], row)
        return features

    def _row(self, group: FeatureSet, block: Block, row: int) -> Floats:
        if self.device:
            values: Floats = self._tensor(group, block)[row].float().cpu().numpy()
        else:
            values = self._rows(group, block)[row].astype(np.float32)
        return values

    def _rows(self, group: FeatureSet, block: Block) -> Halves:
        key = (group, block.number)
        if key in self.cached:
            return self.cached[key]
        rows: Halves = open_features(block.file.local())[block.rows]
        if self._fits(rows):
            self.cached[key] = rows
        return rows

    def _tensor(self, group: FeatureSet, block: Block) -> Tensor:
        key = (group, block.number)
        if key in self.on_device:
            return self.on_device[key]
        rows: Halves = open_features(block.file.local())[block.rows]
        tensor = torch.from_numpy(rows).to(self.device)
        if self._fits(rows):
            self.on_device[key] = tensor
        return tensor

    def _fits(self, rows: Halves) -> bool:
        """Return whether rows may be kept, and take their bytes from the limit if so."""
        fits = rows.nbytes <= self.free
        self.free -= rows.nbytes * fits
        return fits


class GPUHolder(Holder):
    """A part of the features of a clustering that a GPU keeps and sums.

    Args:
        files, threshold, drawn: see `Holder`.
        limit: most bytes of features that are kept in memory where this process sees no GPU; a
            GPU keeps as many as its free memory allows.
    """

    def __init__(
        self,
        files: Sequence[tuple[int, ArtifactFile]],
        threshold: float,
        limit: int,
        drawn: Drawn | None = None,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            limit = int(FREE_SHARE * torch.cuda.mem_get_info()[0])
        super().__init__(files, threshold, limit, drawn, device)
