"""Benchmark table that compares each stage with common practice, in one run.

Ours are the product's stages as commands run them, Ray included, each after its start (from the
additional time of a second, longer call). Common practice is implemented in `peers`. The limit is
what this machine does in the same run: large convolutions, copies of memory.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from measure import say
from speed_table.networks import bench_inference, bench_training
from speed_table.rows import HEAD, Bench
from speed_table.steps import (
    bench_clustering,
    bench_crf,
    bench_par,
    bench_scoring,
    bench_stream,
    bench_walk,
)
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.schema import SpeedRecord, machine
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import open_store


def bench_table(folder: Path) -> None:
    """Measure all rows and keep them in the store of `WSSS_STORE` for the dashboard."""
    torch.set_num_threads(cluster.cores())
    b = Bench(folder)
    say(HEAD)
    for bench in (
        bench_training,
        bench_inference,
        bench_stream,
        bench_clustering,
        bench_crf,
        bench_scoring,
        bench_walk,
        bench_par,
    ):
        bench(b)
    keep_table(b)


def keep_table(b: Bench) -> None:
    """Keep the rows in the store of `WSSS_STORE` for the dashboard."""
    record = SpeedRecord(
        name=b.started.strftime("%Y%m%d-%H%M%S"),
        started=b.started.isoformat(timespec="seconds"),
        machine=torch.cuda.get_device_name() if b.cuda else machine(),
        rows=tuple(b.rows),
    )
    store = open_store(os.environ.get("WSSS_STORE", "store"))
    write_json(store.location("speeds", f"{record.name}.json"), record)
