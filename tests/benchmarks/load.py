"""Benchmark of many: trials at once on several nodes, records through shards and inference."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import say
from sharding import coco, private, sharded, workers
from sweeps import prepared, swept
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
kept = registry.open_dataset(Store(sys.argv[1]), "coco")
pieces = slices(kept, "train")
print(actors.run(Stub, None, pieces, cluster.cores(), lambda done, total: None))
"""


class Peak(threading.Thread):
    """The most memory that a process, and the largest and all of Ray's workers, have at a time."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.stop = pid, threading.Event()
        self.own = self.largest = self.all = self.count = 0

    def run(self) -> None:
        while True:
            found = [size for size in map(private, workers()) if size]
            self.own = max(self.own, private(self.pid))
            self.largest = max([self.largest, *found])
            self.all, self.count = max(self.all, sum(found)), max(self.count, len(found))
            if self.stop.wait(0.2):
                return

    def done(self) -> str:
        self.stop.set()
        self.join()
        own, largest, whole = (round(n / 2**20) for n in (self.own, self.largest, self.all))
        return f"driver {own} MiB, largest of {self.count} workers {largest} MiB, all {whole} MiB"


def bench_records(folder: Path, sizes: Sequence[int] = (RECORDS // 10, RECORDS)) -> None:
    """Records through shards and an inference that only decodes, and what memory that takes."""
    for count in sizes:
        root, store = folder / "coco", folder / "store"
        coco(root, count)
        took, driver, worker = sharded(root, store)
        said = f"driver {driver / 2**20:.0f} MiB, largest worker {worker / 2**20:.0f} MiB"
        say(f"records: {count} into shards: {count / took:.0f} a second; {said}")
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


def waiting(marks: Path, count: int, patience: float) -> Callable[..., dict[str, Any]]:
    """A trial that ends when so many of them have begun, or after so many seconds."""

    def trial(store: object, wanted: object, point: dict[str, float], *rest: Any) -> dict[str, Any]:
        began = time.monotonic()
        (marks / f"{next(iter(point.values()))}").touch()
        while time.monotonic() < began + patience and len(list(marks.iterdir())) < count:
            time.sleep(0.5)
        own = time.monotonic() - began
        return {"value": 0.5, "score": None, "error": None, "cached": True, "seconds": own}

    return trial


def bench_concurrent(folder: Path, count: int = TRIALS, nodes: int = NODES) -> None:
    """Trials that are all asked for at once, each in a process of its own, on several nodes that
    share this machine's memory."""
    import ray
    from ray.cluster_utils import Cluster

    store, base = prepared(folder)
    ray.shutdown()
    marks = folder / "marks"
    marks.mkdir()
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) << 10
    room = {"num_cpus": 3, "memory": int(0.8 * free / nodes), "object_store_memory": 256 << 20}
    several, real = Cluster(initialize_head=True, head_node_args=room), tuner.run_trial
    try:
        for _ in range(nodes - 1):
            several.add_node(**room)
        ray.init(address=several.address, logging_level="ERROR", log_to_driver=False)
        cluster.connect()
        fit = min(count, cluster.drivers())
        tuner.run_trial = waiting(marks, fit, 600.0)
        mu_f = [round(0.5 + k / 1000, 3) for k in range(count)]
        peak = Peak(os.getpid())
        before = private(os.getpid()) / 2**20
        peak.start()
        wanted = Sweep(base=base, space={"lpcam.mu_f": mu_f}, concurrent=count)
        took = swept(store, wanted, "many")
        assert len(list(marks.iterdir())) == count
        said = (
            f"{count} trials asked for at once on {nodes} nodes with room for {fit}: {took:.0f} s"
        )
        say(f"concurrent: {said}; driver before {before:.0f} MiB; {peak.done()}")
    finally:
        tuner.run_trial = real
        ray.shutdown()
        several.shutdown()
