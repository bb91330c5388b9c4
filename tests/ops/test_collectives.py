"""Tests of platform.ops.collectives, and of banks that are the same on every worker."""

from __future__ import annotations

import torch
from wsss.platform.ops.collectives import broadcast_from_first, gather_rows

WORKER = """
import sys
import torch
import torch.distributed as dist
from wsss.methods.cpal import Bank
from wsss.platform.ops.collectives import broadcast_from_first, gather_rows

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
rows = torch.arange(4.0).reshape(2, 2) + 10 * rank
assert gather_rows(rows).tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
assert gather_rows(torch.tensor([rank == 0])).tolist() == [True, False]
own = torch.full((2,), float(rank))
broadcast_from_first(own)
assert own.tolist() == [0, 0]

bank = Bank(2, 2, 3, 2)
anchors = torch.arange(4.0).reshape(1, 2, 2) + 10 * rank
for step in range(3):
    bank.push(anchors + 100 * step, torch.tensor([[rank == 0, True]]))
bank.cluster(0)
mine = torch.cat([b.double().flatten() for b in bank.state_dict().values()])
both = gather_rows(mine[None])
assert torch.equal(both[0], both[1])
assert bank.pushed.tolist() == [3, 6]
assert bank.rows[1, :, 0].tolist() == [112, 202, 212]
dist.destroy_process_group()
print("fine")
"""


def test_one_worker_keeps_its_rows():
    rows = torch.arange(4.0)
    assert gather_rows(rows) is rows
    broadcast_from_first(rows)
    assert rows.tolist() == [0, 1, 2, 3]


def test_two_workers_hold_the_same_bank(two_workers):
    for out in two_workers(WORKER):
        assert out.endswith("fine\n")
