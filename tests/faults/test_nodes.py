"""The same job on several nodes of a cluster, whole and with nodes that die under it."""

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
SOON = {
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 5,
    "health_check_timeout_ms": 60000,
    "health_check_initial_delay_ms": 0,
}
"""So that the head sees within seconds that a node is gone, and waits for one that is slow."""
Start = Callable[[Job, int, Sequence[Fault]], None]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a head that computes nothing and so many nodes, where the job then runs."""
    from ray.cluster_utils import Cluster

    started: list[Any] = []

    def start(job: Job, nodes: int, faults: Sequence[Fault]) -> None:
        job.marks.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("WSSS_FAULTS", json.dumps([f.happens(job.mark(f)) for f in faults]))
        old = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", f"{SABOTEUR}:{old}" if old else str(SABOTEUR))
        memory = {"object_store_memory": 200 << 20}
        head = {"num_cpus": 0, "_system_config": SOON, **memory}
        several = Cluster(initialize_head=True, head_node_args=head)
        started.append(several)
        for _ in range(nodes):
            several.add_node(num_cpus=2, wait=False, **memory)
        several.wait_for_nodes(HANG)
        job.environment["RAY_ADDRESS"] = several.address

    yield start
    for several in started:
        several.shutdown()


def test_three_nodes_equal_one(job: Job, undisturbed: dict[str, Any], cluster: Start) -> None:
    """As many workers, so the same bytes."""
    cluster(job, 3, ())
    job.done(DATA)
    job.done(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def test_nodes_that_die(job: Job, undisturbed: dict[str, Any], cluster: Start) -> None:
    cluster(job, 5, NODES)
    job.done(DATA)
    job.done(CHAIN)
    assert all(job.mark(f).exists() for f in NODES)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_driver_on_a_cluster_that_is_killed(
    job: Job, undisturbed: dict[str, Any], cluster: Start
) -> None:
    cluster(job, 3, ())
    job.done(DATA)
    fault = Fault("platform.records.progress_file:Recorded.update", call=20)
    code, said = job.call(CHAIN, [fault])
    assert (code, job.mark(fault).exists()) == (-signal.SIGKILL, True), said
    job.done(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()
