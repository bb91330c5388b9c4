"""Comparison of searches over kept stages: the best mIoU against the seconds that a search spends.

    .venv/bin/python tests/benchmarks/searches.py FILE.yaml --store STORE --budget 10m

The file is an experiment file with a section `sweep`, which names the method's options, the search
space and the data set. Each search runs once for each random seed, one trial at a time. The store
keeps every stage, so that a stage is computed once for all searches; each search pays the seconds
that the computation took. So a comparison that was broken off goes on where it was, with the same
figures, and a second one takes only the time of the searches themselves. What the untuned trial
needs, such as the trained network, is computed before the first search and costs nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

from measure import say
from wsss.platform.cli import resolve
from wsss.platform.cli.options.experiment_options import SweepOptions
from wsss.platform.cli.parser import parse
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.planner import plan
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.schema import Trial
from wsss.platform.storage.store import open_store
from wsss.platform.tuning import trial
from wsss.platform.tuning.costs.needed_stages import (
    NeededStages,
    marginal_costs,
    wait_for_next_second,
)
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.sweep import Sweep, searcher

Curve = list[tuple[float, float]]
"""Seconds spent and the best mIoU so far, after each trial."""


def carried_out(catalog: Catalog, sweep: Sweep, needed: NeededStages, search_seed: int) -> Curve:
    """Return the curve of one search."""
    costs = marginal_costs(needed)
    seeded = dataclasses.replace(sweep, base=dataclasses.replace(sweep.base, seed=search_seed))
    queue = TrialQueue(sweep, searcher(seeded, costs), [], costs)
    curve: Curve = []
    best = 0.0
    while queue.left and (config := queue.suggest()):
        point, number = config["point"], config["number"]
        report = trial.run(catalog, sweep, point, sweep.base.seed, lambda row: None)
        if report["error"]:
            say(f"{point}: {report['error']}")
        ended = Trial(
            id=f"{number:04d}",
            params=point,
            status="failed" if report["error"] else "done",
            seconds=report["seconds"],
            value=report["value"],
            stages=needed.computed(point, sweep.base.seed),
        )
        if report["error"]:
            lost = needed.lost(ended, time.time(), 0)
            ended = dataclasses.replace(ended, stages=(*ended.stages, lost))
        queue.end(number, ended)
        if ended.status == "done" and ended.value is not None:
            best = max(best, ended.value)
        curve.append((costs.before(number + 1).spent, best))
    return curve


def best_at(curve: Curve, seconds: float) -> float:
    """Return the best mIoU of the trials that ended within some seconds; 0 where none did."""
    return max((value for spent, value in curve if spent <= seconds), default=0.0)


def time_to(curve: Curve, value: float) -> float:
    """Return the seconds after which a search has a value; infinity where it never has."""
    return min((spent for spent, best in curve if best >= value), default=float("inf"))


def table(curves: dict[str, list[Curve]], seconds: float, reference: str) -> list[str]:
    """Return the lines of the comparison: mean and deviation at shares of the budget, and times.

    The time is that after which a search has the final value of the reference search with the same
    random seed, as a share of the budget.
    """
    shares = (0.125, 0.25, 0.5, 1.0)
    lines = ["search   trials  " + "  ".join(f"{100 * s:4.0f} % of it" for s in shares) + "  time"]
    for kind, rows in curves.items():
        cells = []
        for share in shares:
            values = [100 * best_at(curve, share * seconds) for curve in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.fmean(values):5.1f} ± {spread:.1f}")
        times = [
            time_to(curve, best_at(other, seconds)) / seconds
            for curve, other in zip(rows, curves[reference], strict=True)
        ]
        trials = statistics.fmean(map(len, rows))
        reached = " ".join(f"{t:.2f}" for t in times)
        lines.append(f"{kind:8} {trials:6.1f}  {'  '.join(cells)}  {reached}")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("file", help="experiment file with a section sweep")
    arguments.add_argument("--store", required=True, help="store of the stages")
    arguments.add_argument("--budget", default="10m", help="seconds of each search, e.g. 10m")
    arguments.add_argument("--searches", nargs="+", default=["random", "tpe", "eipu"])
    arguments.add_argument("--repeats", type=int, default=5, help="random seeds of each search")
    given = arguments.parse_args()
    store = open_store(given.store)
    words = ["--budget", given.budget, "--concurrent", "1", "--search", "random"]
    options = parse(["sweep", given.file, "--store", given.store, *words])
    assert isinstance(options, SweepOptions)
    _, description = resolve.sweep(options, store)
    cluster.connect()
    catalog = Catalog.of(store)
    untuned = plan(description.trial_experiment({}), catalog).stages[-1].key
    began = Path(given.store) / "searches" / untuned / "began.json"
    if not began.exists():
        trial.run(catalog, description, {}, description.base.seed, lambda row: None)
        began.parent.mkdir(parents=True, exist_ok=True)
        began.write_text(json.dumps(time.strftime("%Y-%m-%dT%H:%M:%S%z")))
        wait_for_next_second(json.loads(began.read_text()))
    needed = NeededStages(catalog, description, json.loads(began.read_text()))
    budget = description.spending
    assert budget is not None
    curves: dict[str, list[Curve]] = {kind: [] for kind in given.searches}
    for seed in range(given.repeats):
        for kind in given.searches:
            sweep = dataclasses.replace(description, kind=kind)
            started = time.monotonic()
            curve = carried_out(catalog, sweep, needed, seed)
            curves[kind].append(curve)
            say(
                f"{kind} {seed}: {len(curve)} trials, {curve[-1][0]:.0f} s spent, "
                f"{100 * curve[-1][1]:.1f} %; took {time.monotonic() - started:.0f} s"
            )
        (began.parent / "curves.json").write_text(json.dumps(curves))
    say("\n".join(table(curves, budget.amount, "tpe" if "tpe" in curves else given.searches[0])))


if __name__ == "__main__":
    main()
