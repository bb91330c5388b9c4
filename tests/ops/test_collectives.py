"""Tests of platform.ops.collectives with one worker; `methods/test_workers.py` starts two."""

from __future__ import annotations

import torch
from wsss.platform.ops.collectives import broadcast_from_first, gather_rows, mean_over_workers


def test_one_worker_keeps_its_rows():
    rows = torch.arange(4.0)
    assert gather_rows(rows) is rows
    broadcast_from_first(rows)
    assert mean_over_workers(rows) is rows
    assert rows.tolist() == [0, 1, 2, 3]
