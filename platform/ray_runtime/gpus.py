"""The share of a GPU that an actor takes, from the memory that it needs."""

from __future__ import annotations

from functools import cache

from . import cluster
from .worker_errors import sendable, unwrapped

CONTEXT_BYTES = 1 << 30
"""Memory in bytes of a GPU that a process takes beside its tensors, for CUDA and its kernels."""
USABLE = 0.9
"""Share of a GPU's memory that is given to actors; fragments of freed memory take the rest."""
RAY_UNITS = 10_000
"""Number of parts of a GPU that Ray counts in."""
MOST_ACTORS = 4
"""Most actors of a GPU. An actor decodes, resizes and writes on the CPU for most of the time."""


def actors_of_gpu(need: int, memory: int) -> int:
    """Return how many actors share a GPU, at least one.

    Args:
        need: memory in bytes that the tensors of an actor take at most.
        memory: memory of the GPU in bytes; 0 where it is not known.
    """
    return max(1, min(MOST_ACTORS, int(USABLE * memory) // (need + CONTEXT_BYTES)))


def gpu_actors(need: int) -> int:
    """Return how many actors the GPUs of the cluster take; 0 without a GPU.

    Args:
        need: see `actors_of_gpu`.
    """
    return cluster.gpus() * actors_of_gpu(need, _memory()) if cluster.gpus() else 0


def gpu_share(need: int) -> float:
    """Return the share of a GPU that Ray reserves for an actor; 0 without a GPU.

    Args:
        need: see `actors_of_gpu`.
    """
    if not cluster.gpus():
        return 0.0
    return (RAY_UNITS // actors_of_gpu(need, _memory())) / RAY_UNITS


@cache
def _memory() -> int:
    """Return the memory in bytes of a GPU of the cluster, which a small task asks there.

    All GPUs of a cluster count as equal. The task waits until Ray has a share of a GPU for it.
    """
    import ray

    task = ray.remote(
        num_cpus=0, num_gpus=0.01, max_retries=3, scheduling_strategy=cluster.outside_trials()
    )(sendable(memory_of_gpu))
    with unwrapped():
        memory: int = ray.get(task.remote())
    return memory


def memory_of_gpu() -> int:
    """Return the memory in bytes of the GPU of this process; 0 without a GPU."""
    import torch

    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else 0
