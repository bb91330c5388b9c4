"""Tests of platform.ray_runtime.gpus: how many actors share a GPU."""

from __future__ import annotations

import pytest
from wsss.platform.ray_runtime import cluster, gpus

GIB = 1 << 30


@pytest.mark.parametrize(
    ("need", "memory", "actors"),
    [
        (8 * GIB, 139 * GIB, 4),  # more would fit
        (8 * GIB, 24 * GIB, 2),
        (8 * GIB, 20 * GIB, 2),
        (8 * GIB, 20 * GIB - 1, 1),
        (8 * GIB, 8 * GIB, 1),  # most images need less
        (1 * GIB, 8 * GIB, 3),
        (0, 139 * GIB, 4),
        (8 * GIB, 0, 1),
    ],
)
def test_as_many_actors_share_a_gpu_as_it_has_memory_for(need, memory, actors):
    assert gpus.actors_of_gpu(need, memory) == actors


@pytest.mark.parametrize(
    ("need", "actors", "share"), [(8, 8, 0.25), (20, 4, 0.5), (13, 6, 0.3333), (99, 2, 1.0)]
)
def test_the_shares_of_the_actors_fill_all_gpus(monkeypatch, need, actors, share):
    monkeypatch.setattr(cluster, "gpus", lambda: 2)
    monkeypatch.setattr(gpus, "_memory", lambda: 48 * GIB)
    assert gpus.gpu_actors(need * GIB) == actors
    assert gpus.gpu_share(need * GIB) == share
    assert actors / 2 * share <= 1


def test_without_a_gpu_no_memory_is_asked_for(monkeypatch):
    monkeypatch.setattr(cluster, "gpus", lambda: 0)
    monkeypatch.delattr(gpus, "_memory")
    assert (gpus.gpu_actors(GIB), gpus.gpu_share(GIB)) == (0, 0.0)


def test_a_process_without_a_gpu_has_no_memory_of_one(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus.memory_of_gpu() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3, 7))
    assert gpus.memory_of_gpu() == 7
