"""Tests of a holder of a clustering: the features that it keeps, and its threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from wsss.platform.ops import kmeans
from wsss.platform.stages.prototypes.holder import Block, GPUHolder, Holder
from wsss.platform.storage.artifact_files import LocalFolder


@pytest.mark.parametrize(("sees_gpu", "kept"), [(True, 80_000), (False, 10)])
def test_a_gpu_keeps_features_in_its_free_memory(
    sees_gpu: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees_gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100_000, 900_000))
    assert GPUHolder([], 0.3, limit=10).free == kept


def test_a_holder_computes_with_one_thread_and_gives_the_others_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A single holder computes in the user's process."""
    counts, block_totals = [], kmeans.block_totals

    def counted(*arguments: Any, **options: Any) -> kmeans.Totals:
        counts.append((torch.get_num_threads(), faiss.omp_get_max_threads()))
        return block_totals(*arguments, **options)

    monkeypatch.setattr(kmeans, "block_totals", counted)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    faiss.omp_set_num_threads(2)
    try:
        holder = Holder([], 0.3, limit=1 << 20)
        holder.blocks = {(0, 0): [Block(0, LocalFolder(Path("none")) / "a.npy", np.arange(4))]}
        holder.cached[(0, 0), 0] = np.ones((4, 3), np.float16)
        totals = holder.totals({(0, 0): np.ones((1, 3), np.float32)}, False)
        assert totals[0, 0].counts.tolist() == [4]
        assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (2, 2)
    finally:
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
    assert counts == [(1, 1)]
