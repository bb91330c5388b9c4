"""The bytes of all tensors that exist at once during a computation."""

from __future__ import annotations

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """The largest number of bytes of the storages that operations made and that were alive.

    What one operation makes and drops inside itself is not seen.

    Args:
        without: tensors whose storages do not count, as the weights of a network.
        dtype: type of the only tensors that count; None for all tensors.
    """

    def __init__(self, without=(), dtype=None):
        super().__init__()
        self.weights = {tensor.untyped_storage()._cdata for tensor in without}
        self.alive, self.bytes, self.dtype = {}, 0, dtype

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        self.alive = {key: pair for key, pair in self.alive.items() if not pair[0].expired()}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and self.dtype in (None, tensor.dtype):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.weights:
                    weak = StorageWeakRef(storage)
                    self.alive[weak.cdata] = (weak, storage.nbytes())
        self.bytes = max(self.bytes, sum(size for _, size in self.alive.values()))
        return out


def peak_of(compute, *arguments, without=()):
    """Return the peak of a computation in bytes, after the computation was done once."""
    compute(*arguments)
    with Peak(without) as peak:
        compute(*arguments)
    return peak.bytes
