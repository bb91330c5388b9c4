"""Benchmarks of a store on disk and in a bucket, and of the loss of a node."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import say, seconds
from wsss.platform.ray_runtime import cluster
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.store import Store, open_store

ARTIFACTS, FILES, BYTES = 50, 4, 1 << 20


@contextmanager
def bucket(cache: Path) -> Iterator[str]:
    """Yield the address of an empty store on an S3 server of this machine."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it logs each request
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}
    os.environ |= {f"AWS_{k}": v for k, v in credentials.items()}
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "WSSS_CACHE": str(cache)}
    fs.S3FileSystem(
        endpoint_override=f"http://{host}:{port}", region="us-east-1", allow_bucket_creation=True
    ).create_dir("bench")
    yield "s3://bench/store"
    server.stop()


def _operations(store: Store, kind: str) -> None:
    stages = [Stage(name="bench", version=1, config={"n": k}) for k in range(ARTIFACTS)]
    content = os.urandom(BYTES)

    def compute(folder: Path) -> dict[str, Any]:
        for k in range(FILES):
            (folder / f"{k}.bin").write_bytes(content)
        return {}

    def reopen_all() -> None:
        fresh = open_store(str(store))
        assert all(fresh.find(s.name, s.key) for s in stages)

    made = seconds(lambda: [store.get(s, compute) for s in stages])
    new, again = seconds(reopen_all), seconds(lambda: [store.find(s.name, s.key) for s in stages])
    say(
        f"store: {kind}: {ARTIFACTS / made:.0f} artifacts ({FILES} files of 1 MiB) a second made, "
        f"{ARTIFACTS / new:.0f} found by a new process, {ARTIFACTS / again:.0f} found again"
    )


def bench_store(folder: Path) -> None:
    """Measure the artifacts a second that are made and found, on disk and in a bucket."""
    _operations(Store(folder / "store"), "disk")
    with bucket(folder / "cache") as address:
        _operations(open_store(address), "S3 server in Python on this machine")


def _sleep(piece: int) -> int:
    time.sleep(0.5)
    return piece


def bench_recovery(folder: Path, tasks: int = 60) -> None:
    """Measure the time that a node costs that dies under tasks, against undisturbed tasks."""
    import ray
    from ray.cluster_utils import Cluster

    times = []
    for kill in (False, True):
        ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        nodes = [ray_cluster.add_node(num_cpus=2) for _ in range(2)]
        ray.init(address=ray_cluster.address, logging_level="ERROR", log_to_driver=False)
        cluster.connect()
        list(cluster.map_tasks(_sleep, range(12)))
        began, done = time.perf_counter(), []
        for piece in cluster.map_tasks(_sleep, range(tasks)):
            done.append(piece)
            if kill and len(done) == tasks // 4:
                ray_cluster.remove_node(nodes[0], allow_graceful=False)
        times.append(time.perf_counter() - began)
        assert done == list(range(tasks))
        ray.shutdown()
        ray_cluster.shutdown()
    say(
        f"recovery: {tasks} tasks of 0.5 s on 3 nodes in {times[0]:.0f} s, with a node killed "
        f"after a quarter {times[1]:.0f} s: all results, {times[1] - times[0]:.0f} s lost"
    )
