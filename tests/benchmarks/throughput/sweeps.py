"""Benchmarks of sweeps: plans and trials a second, shared stages, several nodes; see bench.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from measure import say
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import replaced
from wsss.platform.data import registry
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.planner import plan
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.storage.store import Store
from wsss.platform.tuning import tuner
from wsss.platform.tuning.spaces import space_from
from wsss.platform.tuning.spaces.points import grid
from wsss.platform.tuning.sweep import Sweep

MU_F = [round(0.5 + 0.04 * k, 2) for k in range(12)]
MU_B = [round(0.4 + 0.05 * k, 2) for k in range(10)]
SECONDS = 2.0


def prepare_store(folder: Path) -> tuple[Store, Experiment]:
    """Return a store with LPCAM on drawn scenes, trained and localized, and the experiment."""
    store = Store(folder / "store")
    registry.add(store, Scenes(), "scenes", ProgressDisplay())
    base = build_experiment("lpcam", preset="scenes", changes={"training.epochs": 2})
    Execution.of(store, base).execute()
    return store, base


def run_sweep(store: Store, sweep: Sweep, name: str) -> float:
    """Return the seconds of a sweep in which no trial fails."""
    began = time.perf_counter()
    record = tuner.run(Catalog.of(store), sweep, name, "", ProgressDisplay())
    assert all(t.status == "done" for t in record.trials)
    return time.perf_counter() - began


def bench_plans(folder: Path) -> None:
    """Measure plans of trials of the whole chain, with a catalog that knows the data set."""
    store = Store(folder / "store")
    registry.add(store, Scenes(train=8, val=4), "scenes", ProgressDisplay())
    changes = {"refine.kind": "irn", "segment.network": "deeplabv2"}
    base = build_experiment("lpcam", preset="scenes", changes=changes)
    space = {"lpcam.tau": [round(0.1 + k / 200, 3) for k in range(100)], "lpcam.K": range(2, 12)}
    sweep, catalog = Sweep(base=base, space=space), Catalog.of(store)
    began = time.perf_counter()
    points = list(grid(space_from(space)))
    for point in points:
        assert plan(sweep.trial_experiment(point), catalog).digest
    took = time.perf_counter() - began
    say(f"plans: {len(points)} trials of the whole chain in {took:.1f} s")


def bench_trials(folder: Path) -> None:
    """Measure trials a second that only select prototypes, new trials and cached trials."""
    store, base = prepare_store(folder)
    times = {}
    for kind in ("new", "cached"):
        for count in (20, 120):
            space = {"lpcam.mu_f": MU_F[: count // 10], "lpcam.mu_b": MU_B}
            times[kind, count] = run_sweep(store, Sweep(base=base, space=space), f"{kind}-{count}")
    for kind in ("new", "cached"):
        start, end = times[kind, 20], times[kind, 120]
        say(
            f"trials: 120 {kind} selections on 240 scenes in {end:.0f} s with start; "
            f"{100 / (end - start):.1f} a second after it"
        )


def bench_shared(folder: Path) -> None:
    """Compare a sweep of 60 trials with one trial alone, after training, for each clustering, and
    with as many trials that share nothing but the network and its maps."""
    store, base = prepare_store(folder)
    taus, ks = [0.15, 0.2, 0.25], [6, 10]
    alone = Execution.of(store, replaced(base, {"lpcam.tau": 0.35, "lpcam.K": 8}))
    began = time.perf_counter()
    alone.execute()
    one = time.perf_counter() - began
    space = {"lpcam.tau": taus, "lpcam.K": ks, "lpcam.mu_f": MU_F[::6], "lpcam.mu_b": MU_B[::2]}
    whole = run_sweep(store, Sweep(base=base, space=space), "shared")
    clusterings = len(taus) * len(ks)
    say(
        f"shared: 60 trials over {clusterings} clusterings in {whole:.0f} s; one trial alone "
        f"{one:.1f} s, so {whole / (clusterings * one):.2f} of it for each clustering and "
        f"{whole / (60 * one):.2f} of 60 that share none"
    )


def bench_nodes(folder: Path) -> None:
    """Compare trials that sleep, on clusters of 1, 2 and 4 node processes, with the ideal."""
    import ray
    from ray.cluster_utils import Cluster

    store, base = prepare_store(folder)
    ray.shutdown()
    real = tuner.run_trial

    def sleeping(*arguments: Any) -> dict[str, Any]:
        time.sleep(SECONDS)
        return {"value": 0.5, "score": None, "error": None, "cached": True, "seconds": SECONDS}

    tuner.run_trial = sleeping
    try:
        for nodes in (1, 2, 4):
            ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
            for _ in range(nodes - 1):
                ray_cluster.add_node(num_cpus=3)
            ray.init(address=ray_cluster.address, logging_level="ERROR", log_to_driver=False)
            cluster.connect()
            times = []
            for each in (2, 2, 12):  # the first sweep starts the workers of the nodes
                mu_f = [round(0.5 + k / 1000, 3) for k in range(nodes * each)]
                sweep = Sweep(base=base, space={"lpcam.mu_f": mu_f}, concurrent=nodes)
                times.append(run_sweep(store, sweep, f"nodes-{nodes}-{len(times)}"))
            took, ideal = times[2] - times[1], 10 * SECONDS
            say(f"nodes: {nodes}: {10 * nodes} trials in {took:.1f} s, {ideal / took:.2f} of ideal")
            ray.shutdown()
            ray_cluster.shutdown()
    finally:
        tuner.run_trial = real
