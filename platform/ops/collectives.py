"""Exchange of tensors between training workers; with one worker, tensors stay as they are."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def _is_single_worker() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1


def gather_rows(rows: Tensor) -> Tensor:
    """Join the tensors of all workers, in the order of the workers.

    Args:
        rows: `[B,...]`, of the same shape on each worker.

    Returns:
        `[workers * B,...]`, in the type of `rows`.
    """
    if _is_single_worker():
        return rows
    local = rows.to(torch.uint8) if rows.dtype == torch.bool else rows.contiguous()
    out = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(out, local)
    return torch.cat(out).to(rows.dtype)


def broadcast_from_first(tensor: Tensor) -> None:
    """Overwrite the tensor of each worker, in place, with the tensor of the first worker."""
    if not _is_single_worker():
        dist.broadcast(tensor, 0)


def mean_over_workers(tensor: Tensor) -> Tensor:
    """Return the mean of the tensors of all workers, of the same shape on each."""
    if _is_single_worker():
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def norm_over_workers(tensor: Tensor) -> Tensor:
    """Return the length (L2) of the tensors of all workers, joined to one vector; a scalar."""
    if _is_single_worker():
        length: Tensor = tensor.norm()
        return length
    total = tensor.detach().to(torch.float32).square().sum()
    dist.all_reduce(total)
    return total.sqrt().to(tensor)


def share_of_total(weight: Tensor) -> Tensor:
    """Return the sum of a weight over all workers, at least one, divided by their number.

    A worker that divides a sum by it, in place of its own weight, has the gradient of a mean over
    the batches of all workers, once DistributedDataParallel has averaged the gradients.

    Args:
        weight: `[]`, the sum of the weights of this worker's batch.
    """
    if _is_single_worker():
        return weight.clamp(min=1)
    total = weight.detach().to(torch.float32).clone()
    dist.all_reduce(total)
    return total.clamp_(min=1) / dist.get_world_size()
