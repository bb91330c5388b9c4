"""Tests of platform.ray_runtime.cluster: what runs where, given the resources of the nodes.

`stages/labels/test_batched_labels.py` starts a cluster whose CPU stages stay off its GPU nodes.
"""

from __future__ import annotations

import stat
from types import SimpleNamespace

import pytest
from wsss.platform.errors import InputError
from wsss.platform.ray_runtime import cluster

HEAD = {"driver": 1.0, "GPU_limit": 4.0, "cpu_stage_limit": 64.0, "memory": 1e9}


def test_the_token_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    """A second process that starts at the same time never reads an empty token."""
    path = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    def token_hex(size):
        assert not path.exists()
        return "ab" * size

    monkeypatch.setattr(cluster.secrets, "token_hex", token_hex)
    cluster._make_token()
    assert path.read_text() == "ab" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("other")
    cluster._make_token()
    assert [p.read_text() for p in path.parent.iterdir()] == ["other"]


@pytest.fixture
def nodes(monkeypatch):
    """Return a function that sets the resources of the nodes."""
    import ray

    def set_nodes(first, *others):
        monkeypatch.setattr(ray, "cluster_resources", lambda: first)
        nodes = [{"Alive": True, "Resources": resources} for resources in (first, *others)]
        monkeypatch.setattr(ray, "nodes", lambda: nodes)

    return set_nodes


def test_one_machine_without_gpus_runs_workers_and_trials(nodes):
    nodes({"CPU": 4.0, "memory": 1e9})
    assert (cluster.workers(), cluster.gpus()) == (2, 0)
    assert cluster.cpu_stage_resources() is None
    assert cluster.trial_resources() == {"cpu": 0.01, "memory": cluster.TRIAL_BYTES}
    assert cluster.trial_slots() == 2


def test_trials_are_limited_by_the_memory_of_the_nodes(nodes):
    nodes({"CPU": 4.0, "memory": 1e8})
    assert cluster.trial_resources() == {"cpu": 0.01, "memory": 10**8}
    assert cluster.trial_slots() == 1
    nodes({"CPU": 4.0})
    assert cluster.trial_resources() == {"cpu": 0.01}
    nodes({"CPU": 4.0, "memory": 4e9}, {"CPU": 4.0, "memory": 2e9})
    assert cluster.trial_slots() == 9 + 4


def test_trials_request_memory_for_the_masks_that_they_keep(nodes):
    nodes({"CPU": 4.0, "memory": 4e9}, {"CPU": 4.0, "memory": 2e9})
    kept = 1 << 30
    resources = cluster.trial_resources(kept)
    assert resources == {"cpu": 0.01, "memory": cluster.TRIAL_BYTES + kept}
    assert cluster.trial_slots(kept) == 2 + 1
    nodes({"CPU": 4.0, "memory": 1e9})
    assert cluster.trial_resources(kept) == {"cpu": 0.01, "memory": 10**9}
    assert cluster.trial_slots(kept) == 1


def test_one_machine_with_a_gpu_and_one_core_has_one_worker(nodes):
    nodes({"CPU": 1.0, "GPU": 1.0})
    assert (cluster.workers(), cluster.gpus()) == (1, 1)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("need", "memories", "processes"),
    [
        (1 * GIB, [1 * GIB], 4),  # as small as each core has memory for
        (8 * GIB, [], 4),  # the memory is not known
        (2 * GIB, [64 * GIB], 4),
        (2 * GIB, [5 * GIB], 2),
        (8 * GIB, [4 * GIB], 1),
        (8 * GIB, [9 * GIB, 18 * GIB], 3),
    ],
)
def test_as_many_processes_run_as_have_memory_for_large_images(nodes, need, memories, processes):
    nodes(*({"CPU": 6.0, "memory": float(memory)} for memory in memories or [0]), {"memory": 1e12})
    assert cluster.fitting(4, need) == processes


def test_the_memory_of_gpu_nodes_does_not_count_for_cpu_stages(nodes):
    """Their tasks ask for the resource `cpu_stage`, so they never run on the other nodes."""
    gpu = {"CPU": 8.0, "GPU": 1.0, "memory": 1e12}
    nodes({"CPU": 16.0, "cpu_stage": 16.0, "memory": 10 * (1 << 30)}, gpu)
    assert cluster.fitting(16, 2 << 30) == 4


class Tasks:
    """The tasks of Ray, in this process: the piece "large" ends its process, by an error of Ray."""

    def __init__(self, monkeypatch, error):
        import ray

        self.error, self.most, self.running = error, 0, 0
        for name, replacement in {
            "remote": lambda **options: lambda task: SimpleNamespace(remote=self.start),
            "put": lambda value: value,
            "wait": lambda running: (running[:1], running[1:]),
            "get": self.get,
        }.items():
            monkeypatch.setattr(ray, name, replacement)

    def start(self, piece, *shared):
        self.running += 1
        self.most = max(self.most, self.running)
        return piece

    def get(self, piece):
        self.running -= 1
        if piece == "large":
            raise self.error
        return piece


@pytest.mark.parametrize("kind", ["WorkerCrashedError", "OutOfMemoryError"])
def test_a_piece_that_ends_its_process_is_lost(monkeypatch, nodes, kind):
    import ray

    nodes({"CPU": 6.0, "memory": 4.5 * GIB})
    error = getattr(ray.exceptions, kind)
    tasks = Tasks(monkeypatch, error("the node is low on memory"))
    pieces = ["a", "large", "b", "c"]
    results = list(cluster.map_tasks(str, pieces, lost=lambda piece: f"{piece} lost"))
    assert results == ["a", "large lost", "b", "c"]
    assert tasks.most == 4
    with pytest.raises(error):
        list(cluster.map_tasks(str, pieces))
    assert [cluster.survives(str, piece) for piece in pieces] == [True, False, True, True]


def test_as_many_tasks_run_as_have_memory_for_large_images(monkeypatch, nodes):
    nodes({"CPU": 6.0, "memory": 4.5 * GIB})
    tasks = Tasks(monkeypatch, None)
    assert list(cluster.map_tasks(str, range(9), need=GIB + 1)) == [*range(9)]
    assert tasks.most == 3


@pytest.mark.parametrize(
    "started", [{}, {"CPU": 24.0, "GPU": 1.0, "cpu_stage": 16.0}], ids=["none", "some"]
)
def test_nodes_that_may_still_start_count(nodes, started):
    nodes({**HEAD, **started})
    assert (cluster.workers(), cluster.gpus()) == (64, 4)
    assert cluster.cpu_stage_resources(0.5) == {"cpu_stage": 0.5}
    nodes({**HEAD, **started}, {"CPU": 64.0, "memory": 1e12})
    assert cluster.trial_resources() == {"driver": 0.01, "memory": cluster.TRIAL_BYTES}
    assert cluster.trial_slots() == 2  # on the head alone


@pytest.mark.parametrize(
    ("resources", "workers", "message"),
    [
        ({"CPU": 4.0}, 3, ""),
        ({"CPU": 4.0}, 4, "training.workers is 4, but Ray has 4 CPUs; .* one must be left to load"),
        ({"CPU": 1.0}, 1, "training.workers is 1, but Ray has 1 CPUs"),
        ({"CPU": 8.0, "GPU": 2.0}, 2, ""),
        ({"CPU": 8.0, "GPU": 2.0}, 3, "training.workers is 3, but Ray has 2 GPUs"),
        ({"CPU": 2.0, "GPU": 2.0}, 2, "training.workers is 2, but Ray has 2 CPUs"),
        (HEAD, 4, ""),
        (HEAD, 5, "training.workers is 5, but Ray has 4 GPUs .* resource GPU_limit if more"),
        ({"cpu_stage_limit": 64.0, "driver": 1.0}, 40, ""),
        ({"CPU_limit": 8.0, "driver": 1.0}, 7, ""),
        ({"CPU_limit": 8.0, "driver": 1.0}, 8, "training.workers is 8, but Ray has 8 CPUs"),
    ],
)
def test_workers_that_would_wait_for_ever_are_refused(nodes, resources, workers, message):
    nodes(resources)
    if not message:
        cluster.check_workers(workers, "training.workers")
        return
    with pytest.raises(InputError, match=message):
        cluster.check_workers(workers, "training.workers")


def test_trainings_leave_a_cpu_to_load_their_rows(nodes):
    nodes({"CPU": 4.0})
    assert [cluster.training_slots(workers) for workers in (1, 2, 3, 4)] == [3, 1, 1, 1]
    nodes({"CPU": 8.0, "GPU_limit": 16.0})
    assert cluster.training_slots(1) is None
    nodes({"CPU": 8.0, "CPU_limit": 64.0})
    assert cluster.training_slots(2) == 31


@pytest.mark.cluster
def test_a_training_says_what_it_waits_for(ray_session):
    """The table of placement groups is Ray's own; its form is not documented."""
    import ray

    wanted = {"CPU": 500.0, "GPU": 1.0}
    group = ray.util.placement_group([wanted] * 2)
    assert cluster.waits_for(wanted, 2) == "1000 free CPUs and 2 free GPUs"
    assert cluster.waits_for(wanted, 1) == cluster.waits_for({"CPU": 1}, 1) == ""
    ray.util.remove_placement_group(group)
    one = ray.util.placement_group([{"GPU": 1}])
    assert cluster.waits_for({"GPU": 1}, 1) == "1 free GPU"
    ray.util.remove_placement_group(one)
