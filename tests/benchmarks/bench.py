"""Benchmarks of speed and memory, as ratios measured in one run.

    make bench                                        the table of our stages and common practice
    .venv/bin/python tests/benchmarks/bench.py NAME   one benchmark: table, scale, clustering,
                                                      stages, driver, kept, thresholds, cached,
                                                      methods, superpixels, walk, crf, chain,
                                                      coco, plans, trials, shared, nodes,
                                                      concurrent, records, store, recovery,
                                                      pages, huge, attention, clip_es,
                                                      crf_backends; or all benchmarks: all

All data are generated. Other load on the machine changes the results, so run nothing beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from computation import crf_backends, labels, trainings, transformers
from growth import huge, scale, stages
from measure import KEPT, feature_files, say, seconds, some_centers
from speed_table import table
from throughput import load, pages, sharding, storage, sweeps
from wsss.platform.data import registry
from wsss.platform.metrics import THRESHOLDS, ThresholdCurve
from wsss.platform.ops import kmeans
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.schema import machine
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.store import Store


def bench_clustering(
    folder: Path, rows: int = 200_000, width: int = 1280, rounds: int = 10
) -> None:
    """Compare one round of the distributed clustering with one faiss call on the same features."""
    files = feature_files(folder, rows, width, 16)
    single = _one_faiss_call([file.local() for file in files])
    cluster.connect()
    holders = clustering.Holders(files, 0.5, cluster.cores(), KEPT)
    centers = some_centers(holders, width)
    holders.totals(centers, False)
    ours = seconds(lambda: holders.totals(centers, False), rounds)
    holders.close()
    say(
        f"clustering: {rows} x {width}: {ours:.2f} s a round with sums, {single:.2f} s one faiss "
        f"assignment of float32 in memory; {ours / single:.2f} of it"
    )


def _one_faiss_call(paths: list[Path]) -> float:
    whole = np.concatenate([np.load(p, allow_pickle=False) for p in paths]).astype(np.float32)
    kmeans.faiss.omp_set_num_threads(cluster.cores())
    return seconds(lambda: kmeans.assign(whole, whole[:12].copy()), 5)


def bench_thresholds(folder: Path, images: int = 20) -> None:
    """Compare the cost of a curve of 100 thresholds with the cost of one threshold."""
    rng = torch.Generator().manual_seed(0)
    data = [
        (
            torch.randint(0, 21, (375, 500), generator=rng),
            torch.rand(375, 500, generator=rng),
            torch.randint(1, 21, (375, 500), generator=rng),
        )
        for _ in range(images)
    ]

    def curve(thresholds: tuple[float, ...]) -> None:
        counts = ThresholdCurve(21, thresholds)
        for target, score, best in data:
            counts.update(target, score, best)
        counts.matrices()

    one, many = seconds(lambda: curve((0.3,)), 5), seconds(lambda: curve(THRESHOLDS), 5)
    say(f"thresholds: 100 cost {many / one:.2f} times one ({1e3 * many / images:.1f} ms an image)")


def bench_cached(folder: Path) -> None:
    """Measure the overhead of a trial whose artifacts are all in the store."""
    from wsss.platform.data.sources.scenes import Scenes
    from wsss.platform.method import build_experiment
    from wsss.platform.pipeline.execution import Execution

    store = Store(folder / "store")
    registry.add(store, Scenes(train=32, val=16), "scenes", ProgressDisplay())
    changes = {"training.epochs": 1}
    lpcam = build_experiment("lpcam", preset="scenes", changes=changes)
    Execution.of(store, lpcam).execute()

    def trial() -> None:
        pipeline = Execution.of(store, lpcam)
        pipeline.execute()
        pipeline.read_scores()

    count = len(Execution.of(store, lpcam).plan.steps)
    say(f"cached: a trial with all {count} artifacts in the store takes {seconds(trial, 5):.3f} s")


BENCHES = {
    "table": table.bench_table,
    "scale": scale.bench_scale,
    "clustering": bench_clustering,
    "stages": stages.bench_stages,
    "driver": stages.bench_driver,
    "kept": stages.bench_kept,
    "thresholds": bench_thresholds,
    "cached": bench_cached,
    "methods": trainings.bench_methods,
    "superpixels": labels.bench_superpixels,
    "walk": labels.bench_walk,
    "crf": labels.bench_crf,
    "chain": labels.bench_chain,
    "coco": sharding.bench_coco,
    "plans": sweeps.bench_plans,
    "trials": sweeps.bench_trials,
    "shared": sweeps.bench_shared,
    "nodes": sweeps.bench_nodes,
    "concurrent": load.bench_concurrent,
    "records": load.bench_records,
    "store": storage.bench_store,
    "recovery": storage.bench_recovery,
    "pages": pages.bench_pages,
    "huge": huge.bench_huge,
    "attention": transformers.bench_attention,
    "clip_es": transformers.bench_clip_es,
    "crf_backends": crf_backends.bench_crf_backends,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark; table without any")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in [*BENCHES, "all"]]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are all, {', '.join(BENCHES)}")
    torch.set_num_threads(1)
    say(machine())
    for name in list(BENCHES) if "all" in names else names or ["table"]:
        with tempfile.TemporaryDirectory() as folder:
            BENCHES[name](Path(folder))


if __name__ == "__main__":
    main()
