"""Tests of the job on a cluster of several nodes, with and without nodes that die."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from disturbed import CHAIN, DATA, SABOTEUR, Fault, Job
from limits import HANG

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * HANG)]

NODES = (
    Fault("methods.cam:CAM.losses", call=5, act="node"),
    Fault("platform.stages.inference.class_maps:Infer.work", act="node"),
    Fault("platform.stages.labels.pseudo_labels:label_slice", act="node"),
)
HEALTH_CHECKS = {
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 5,
    "health_check_timeout_ms": 60000,
    "health_check_initial_delay_ms": 0,
}
"""Settings with which the head misses a lost node within seconds and waits for a slow node."""
Start = Callable[[Job, int, Sequence[Fault]], None]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Yield a function that starts a head that computes nothing and nodes on which a job runs."""
    from ray.cluster_utils import Cluster

    started: list[Any] = []

    def start(job: Job, nodes: int, faults: Sequence[Fault]) -> None:
        job.marks.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("WSSS_FAULTS", json.dumps([f.description(job.mark(f)) for f in faults]))
        old = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", f"{SABOTEUR}:{old}" if old else str(SABOTEUR))
        memory = {"object_store_memory": 200 << 20}
        head = {"num_cpus": 0, "_system_config": HEALTH_CHECKS, **memory}
        ray_cluster = Cluster(initialize_head=True, head_node_args=head)
        started.append(ray_cluster)
        for _ in range(nodes):
            ray_cluster.add_node(num_cpus=2, wait=False, **memory)
        ray_cluster.wait_for_nodes(HANG)
        job.environment["RAY_ADDRESS"] = ray_cluster.address

    yield start
    for ray_cluster in started:
        ray_cluster.shutdown()


def test_three_nodes_equal_one(job: Job, undisturbed: dict[str, Any], cluster: Start) -> None:
    """The number of workers is the same, so the bytes are the same."""
    cluster(job, 3, ())
    job.run(DATA)
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def test_nodes_that_die_change_no_result(
    job: Job, undisturbed: dict[str, Any], cluster: Start
) -> None:
    cluster(job, 5, NODES)
    job.run(DATA)
    job.run(CHAIN)
    assert all(job.mark(f).exists() for f in NODES)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_killed_driver_on_a_cluster_changes_no_result(
    job: Job, undisturbed: dict[str, Any], cluster: Start
) -> None:
    cluster(job, 3, ())
    job.run(DATA)
    fault = Fault("platform.records.progress_file:ProgressRecorder.update", call=20)
    code, output = job.call(CHAIN, [fault])
    assert (code, job.mark(fault).exists()) == (-signal.SIGKILL, True), output
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()
