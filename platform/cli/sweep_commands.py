"""The commands that carry sweeps out: `sweep` and `figure`."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..data.sources.source import check_name
from ..errors import InputError
from ..records.progress import Silent
from ..records.progress_file import Recorded
from ..records.schema import RunRecord, SweepRecord
from ..storage import filesystem
from ..storage.json_files import write_json
from ..storage.s3_store import open_store
from ..storage.store import Store
from ..tuning import spaces
from ..tuning.sweep import Sweep, best_experiment
from . import resolve
from .pages import check_page, say, show
from .run_commands import carry_out, catalog_of, progress_for, table_rows
from .tables import best_points, comparison, figure_table

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..pipeline.context import Catalog


def sweep(options: argparse.Namespace, command: str) -> None:
    """`wsss sweep`: trials, the best one on all splits, a table, a page."""
    from ..tuning.tuner import run as run_sweep

    store = open_store(options.store)
    catalog = catalog_of(store)
    title, wanted = _described(options, store)
    base = wanted.base
    name = check_name(options.name or f"{base.localizer_name}-{base.data}-{title}")
    path = store.root / "sweeps" / name / "sweep.json"
    known = filesystem.exists(path) and not options.resume
    began = time.monotonic()
    _check(catalog, options, [base, *wanted.bases.values()])
    if not known:
        _announce(catalog, wanted)
    recorded = Recorded(progress_for(options))
    record = run_sweep(catalog, wanted, name, command, recorded, options.resume)
    untuned, best = _both(catalog, wanted, record, command, progress_for(options))
    chosen = best[0]
    named = dataclasses.replace(record, run=chosen.name, untuned=untuned[0].name)
    if named != record:
        write_json(path, named)
    done, total = sum(t.status == "done" for t in record.trials), len(record.trials)
    took = f"{done} of {total} trials, {time.monotonic() - began:.0f} s"
    nothing = f"nothing to do, its {total} trials were already there"
    say(f"sweep {name}: {nothing if known else took}")
    for line in best_points(record):
        say(line)
    rows = table_rows("untuned", untuned[0].subject, untuned) + table_rows(
        "best", chosen.subject, best
    )
    say(comparison(rows))
    show(store, options.page, [chosen.name, untuned[0].name], name)


def _described(options: argparse.Namespace, store: Store) -> tuple[str, Sweep]:
    """The name of the search space that the options give, and the sweep over it."""

    base = resolve.experiment(options, store, options.seed)
    title, space = spaces.find(base.localizer_name, options.space)
    return title, Sweep(
        base=base,
        bases=resolve.combinations(options, store, space),
        space=space,
        trials=options.trials,
        split=options.split,
        concurrent=options.concurrent,
        repeats=options.repeats,
        kind=options.search,
        scheduler=options.scheduler,
        retries=options.retries,
    )


def figure(options: argparse.Namespace, command: str) -> None:
    """`wsss figure`: what a paper's figure varies, beside the numbers that it prints."""

    from ..tuning.tuner import run as run_sweep

    store = open_store(options.store)
    method, found = spaces.figure(options.figure)
    if options.imported:
        raise InputError("a figure varies a method's own options; leave out --imported")
    if (options.refine or options.segment or options.recipe) and not options.baseline:
        raise InputError("a figure is of class maps; leave out --refine, --segment and --recipe")
    points = {repr(changes): changes for of in found["panels"].values() for _, changes, _ in of}
    space: dict[str, list[Any]] = {}
    for changes in points.values():
        for field, value in changes.items():
            space[field] = list(dict.fromkeys([*space.get(field, []), value]))
    base = resolve.experiment(options, store, options.seed, method=method)
    resolve.check_used(options, [base])
    wanted = Sweep(
        base=base,
        space=space,
        split=options.split,
        concurrent=options.concurrent,
        repeats=options.repeats,
        retries=options.retries,
        listed=tuple(points.values()),
        figure=options.figure,
    )
    name = check_name(options.name or f"{options.figure}-{options.data}")
    catalog = catalog_of(store)
    if not filesystem.exists(store.root / "sweeps" / name / "sweep.json"):
        _announce(catalog, wanted)
    recorded = Recorded(progress_for(options))
    record = run_sweep(catalog, wanted, name, command, recorded, options.resume)
    say(figure_table(found, record))
    show(store, None, [], name)


def _both(
    catalog: Catalog, wanted: Sweep, record: SweepRecord, command: str, progress: Silent
) -> tuple[list[RunRecord], list[RunRecord]]:
    """The untuned experiment and that of the best point, on all splits, over the seeds."""
    from ..pipeline.planner import plan

    def record_of(experiment: Experiment) -> RunRecord:
        return carry_out(catalog.store, plan(experiment, catalog), None, command, progress)

    pairs = [(wanted.seeded(seed), best_experiment(wanted, record, seed)) for seed in wanted.seeds]
    runs = [[record_of(e) for e in pair] for pair in pairs]
    return [pair[0] for pair in runs], [pair[1] for pair in runs]


def _check(catalog: Catalog, options: argparse.Namespace, plain: Sequence[Experiment]) -> None:
    """Check the untuned experiments and the page of a sweep before its trials.

    Raises:
        InputError: an experiment cannot be planned, or the page cannot be written.
    """
    from ..pipeline.planner import plan

    check_page(options.page)
    resolve.check_used(options, plain)
    for experiment in plain:
        plan(experiment, catalog)


def _announce(catalog: Catalog, wanted: Sweep) -> None:
    """What the trials will compute together, and what of it is there."""
    from ..tuning.cost import MOST_COUNTED, cost

    missing, there, idle = cost(catalog, wanted)
    lists = [
        ", ".join(f"{n} {name}" for name, n in of.items()) or "nothing" for of in (missing, there)
    ]
    trials = f"{wanted.count * wanted.repeats} trials"
    if wanted.kind == "tpe":
        trials += f", chosen on the way; of the space's first {MOST_COUNTED:,} points at most"
    say(f"{trials}: to compute {lists[0]}; there {lists[1]}")
    if idle:
        say(f"{', '.join(idle)}: the result is the same whatever the value")
