"""Benchmarks of load: many trials at once on several nodes, many records through the stages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import say
from process_memory import Peak, private
from throughput.sharding import coco, make_shards
from throughput.sweeps import prepare_store, run_sweep
from wsss.platform.ray_runtime import cluster
from wsss.platform.tuning import tuner
from wsss.platform.tuning.sweep import Sweep

TRIALS, NODES, RECORDS = 200, 4, 100_000

INFER = """
import sys
from wsss.platform.data import registry
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.formats import shards
from wsss.platform.data.images import decode_image
from wsss.platform.ray_runtime import cluster
from wsss.platform.stages.inference import actors
from wsss.platform.storage.store import Store

class Stub(actors.Actor):
    def __init__(self, job): pass
    def work(self, piece):
        rows = shards.read(piece, ("id", "image"))
        return sum(decode_image(r["image"], r["id"]).ndim == 3 for r in rows)

cluster.connect()
dataset = registry.open_dataset(Store(sys.argv[1]), "coco")
pieces = slices(dataset, "train")
print(actors.run(Stub, None, pieces, cluster.cores(), lambda done, total: None)["images"])
"""


def bench_records(folder: Path, sizes: Sequence[int] = (RECORDS // 10, RECORDS)) -> None:
    """Measure the rate and peak memory of records through shards and a decoding inference."""
    for count in sizes:
        root, store = folder / "coco", folder / "store"
        coco(root, count)
        took, driver, worker = make_shards(root, store)
        memory = f"driver {driver / 2**20:.0f} MiB, largest worker {worker / 2**20:.0f} MiB"
        say(f"records: {count} into shards: {count / took:.0f} a second; {memory}")
        began = time.perf_counter()
        job = subprocess.Popen([sys.executable, "-c", INFER, str(store)], stdout=subprocess.PIPE)
        peak = Peak(job.pid)
        peak.start()
        out, _ = job.communicate()
        assert int(out) == count
        rate = count / (time.perf_counter() - began)
        say(f"records: {count} through inference: {rate:.0f} a second; {peak.done()}")
        shutil.rmtree(root)
        shutil.rmtree(store)


def waiting_trial(marks: Path, count: int, patience: float) -> Callable[..., dict[str, Any]]:
    """Return a trial that ends once `count` trials have begun, or after `patience` seconds."""

    def trial(store: object, sweep: object, point: dict[str, float], *rest: Any) -> dict[str, Any]:
        began = time.monotonic()
        (marks / f"{next(iter(point.values()))}").touch()
        while time.monotonic() < began + patience and len(list(marks.iterdir())) < count:
            time.sleep(0.5)
        elapsed = time.monotonic() - began
        return {"value": 0.5, "score": None, "error": None, "cached": True, "seconds": elapsed}

    return trial


def bench_concurrent(folder: Path, count: int = TRIALS, nodes: int = NODES) -> None:
    """Measure trials that are submitted at once, each in its own process, on several nodes that
    share this machine's memory."""
    import ray
    from ray.cluster_utils import Cluster

    store, base = prepare_store(folder)
    ray.shutdown()
    marks = folder / "marks"
    marks.mkdir()
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) << 10
    room = {"num_cpus": 3, "memory": int(0.8 * free / nodes), "object_store_memory": 256 << 20}
    ray_cluster, real = Cluster(initialize_head=True, head_node_args=room), tuner.run_trial
    try:
        for _ in range(nodes - 1):
            ray_cluster.add_node(**room)
        ray.init(address=ray_cluster.address, logging_level="ERROR", log_to_driver=False)
        cluster.connect()
        fit = min(count, cluster.trial_slots(1 << 20))  # masks take less
        tuner.run_trial = waiting_trial(marks, fit, 600.0)
        mu_f = [round(0.5 + k / 1000, 3) for k in range(count)]
        peak = Peak(os.getpid())
        before = private(os.getpid()) / 2**20
        peak.start()
        sweep = Sweep(base=base, space={"lpcam.mu_f": mu_f}, concurrent=count)
        took = run_sweep(store, sweep, "many")
        assert len(list(marks.iterdir())) == count
        summary = (
            f"{count} trials submitted at once on {nodes} nodes with room for {fit}: {took:.0f} s"
        )
        say(f"concurrent: {summary}; driver before {before:.0f} MiB; {peak.done()}")
    finally:
        tuner.run_trial = real
        ray.shutdown()
        ray_cluster.shutdown()
