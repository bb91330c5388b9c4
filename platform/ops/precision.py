"""The precision in which functions of tensors compute, whatever the precision of their inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_type(*tensors: Tensor) -> torch.dtype:
    """Return the common type of tensors, float32 at least.

    In half precision, sums over many positions lose small terms, and float16 ends at 65504.
    """
    kind = torch.float32
    for tensor in tensors:
        kind = torch.promote_types(kind, tensor.dtype)
    return kind


def unlowered(tensor: Tensor) -> torch.autocast:
    """Return the context in which autocast lowers no product on a tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)
