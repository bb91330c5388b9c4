"""Tests of how many features a holder of a clustering keeps on a GPU."""

from __future__ import annotations

import pytest
import torch
from wsss.platform.stages.prototypes.holder import GPUHolder


@pytest.mark.parametrize(("sees_gpu", "kept"), [(True, 80_000), (False, 10)])
def test_a_gpu_keeps_features_in_its_free_memory(
    sees_gpu: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees_gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100_000, 900_000))
    threads = torch.get_num_threads()
    holder = GPUHolder([], 0.3, limit=10)
    torch.set_num_threads(threads)
    assert holder.free == kept
