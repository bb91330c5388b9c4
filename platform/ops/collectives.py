"""Tensors of all training workers; with one worker, the tensors as they are."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1


def gathered(rows: Tensor) -> Tensor:
    """`[B,...]` of each worker, all of one shape, to `[workers * B,...]` in the workers' order."""
    if _alone():
        return rows
    plain = rows.to(torch.uint8) if rows.dtype == torch.bool else rows.contiguous()
    out = [torch.empty_like(plain) for _ in range(dist.get_world_size())]
    dist.all_gather(out, plain)
    return torch.cat(out).to(rows.dtype)


def from_first(tensor: Tensor) -> None:
    """Overwrites the tensor by the first worker's."""
    if not _alone():
        dist.broadcast(tensor, 0)
