"""The commands that carry out sweeps: `sweep` and `figure`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.sources.source import check_name
from ..errors import InputError
from ..records.schema import SweepRecord
from ..storage.json_files import write_json
from ..storage.store import Store, open_store
from ..tuning import spaces
from ..tuning.sweep import Sweep, best_experiment
from . import resolve
from .options.experiment_options import FigureOptions, SweepOptions
from .pages import check_page, write_run_pages
from .run_commands import carry_out, catalog_of, progress_for, table_rows
from .tables import Printer, best_points, comparison_table, figure_table

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..pipeline.context import Catalog
    from ..pipeline.plan import Plan


def sweep(options: SweepOptions, command: str) -> None:
    """Carry out `wsss sweep`: run trials, score the best point on all splits, and write a page."""
    from ..tuning.tuner import run as run_sweep

    store, printer = open_store(options.store), Printer(options.format)
    catalog = catalog_of(store)
    title, description = _description(options, store)
    base = description.base
    name = check_name(options.name or f"{base.localizer_name}-{base.data}-{title}")
    file = store.location("sweeps", name, "sweep.json")
    known = file.exists() and not options.resume
    began = time.monotonic()
    _check(catalog, options, [base, *description.bases.values()])
    if not known:
        _announce(printer, catalog, description)
    text = resolve.combinations_file(options, store, description) if description.bases else ""
    with progress_for(options) as progress:
        record = run_sweep(catalog, description, name, command, progress, options.resume, text)
    untuned, best = (
        [carry_out(store, p, None, command, options) for p in plans]
        for plans in _untuned_and_best(catalog, description, record)
    )
    chosen = best[0]
    complete = dataclasses.replace(record, run=chosen.name, untuned=untuned[0].name)
    if complete != record:
        write_json(file, complete)
    done, total = sum(t.status == "done" for t in record.trials), len(record.trials)
    summary = f"{done} of {total} trials, {time.monotonic() - began:.0f} s"
    unchanged = f"nothing to do, its {total} trials are already in the store"
    printer.line(f"sweep {name}: {unchanged if known else summary}")
    for line in best_points(record):
        printer.line(line)
    rows = table_rows("untuned", untuned[0].subject, untuned) + table_rows(
        "best", chosen.subject, best
    )
    printer.table(comparison_table(rows))
    write_run_pages(printer, store, options.page, [chosen.name, untuned[0].name], name)


def _description(options: SweepOptions, store: Store) -> tuple[str, Sweep]:
    """Return the name of the search space of the options, and the sweep over the space."""
    base = resolve.experiment(options, store, options.seed)
    title, space = resolve.space(options, base.localizer_name)
    return title, Sweep(
        base=base,
        bases=resolve.combinations(options, store, space),
        space=space,
        trials=options.trials,
        split=options.split,
        concurrent=options.concurrent,
        repeats=options.repeats,
        kind=options.search or "",
        scheduler=options.scheduler or "",
        retries=options.retries,
    )


def figure(options: FigureOptions, command: str) -> None:
    """Carry out `wsss figure`: repeat a paper's figure beside the numbers that the paper prints."""
    from ..tuning.tuner import run as run_sweep

    store, printer = open_store(options.store), Printer(options.format)
    method, published = spaces.find_figure(options.figure)
    if options.imported:
        raise InputError("a figure varies a method's own options; leave out --imported")
    if (options.refine or options.segment or options.recipe) and not options.baseline:
        raise InputError("a figure scores class maps; leave out --refine, --segment and --recipe")
    points = {
        repr(changes): changes for rows in published["panels"].values() for _, changes, _ in rows
    }
    space: dict[str, list[object]] = {}
    for changes in points.values():
        for field, value in changes.items():
            space[field] = list(dict.fromkeys([*space.get(field, []), value]))
    base = resolve.experiment(options, store, options.seed, method=method)
    resolve.check_used(options, [base])
    description = Sweep(
        base=base,
        space=space,
        split=options.split,
        concurrent=options.concurrent,
        repeats=options.repeats,
        retries=options.retries,
        listed_points=tuple(points.values()),
        figure=options.figure,
    )
    name = check_name(options.name or f"{options.figure}-{options.data}")
    catalog = catalog_of(store)
    if not store.location("sweeps", name, "sweep.json").exists():
        _announce(printer, catalog, description)
    with progress_for(options) as progress:
        record = run_sweep(catalog, description, name, command, progress, options.resume)
    printer.table(figure_table(published, record))
    write_run_pages(printer, store, None, [], name)


def _untuned_and_best(
    catalog: Catalog, description: Sweep, record: SweepRecord
) -> tuple[list[Plan], list[Plan]]:
    """Return the plans of the untuned experiment and of the best point, one for each seed."""
    from ..pipeline.planner import plan

    seeds = description.seeds
    return (
        [plan(description.untuned_experiment(seed), catalog) for seed in seeds],
        [plan(best_experiment(description, record, seed), catalog) for seed in seeds],
    )


def _check(catalog: Catalog, options: SweepOptions, untuned: Sequence[Experiment]) -> None:
    """Check the untuned experiments and the page of a sweep before its trials.

    Raises:
        InputError: an experiment cannot be planned, or the page cannot be written.
    """
    from ..pipeline.planner import plan

    check_page(options.page)
    resolve.check_used(options, untuned)
    for experiment in untuned:
        plan(experiment, catalog)


def _announce(printer: Printer, catalog: Catalog, description: Sweep) -> None:
    """Print how many stages the trials will compute together, and how many are in the store."""
    from ..tuning.cost import MOST_COUNTED, cost

    missing, stored, without_effect = cost(catalog, description)
    lists = [
        ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing"
        for counts in (missing, stored)
    ]
    trials = f"{description.count * description.repeats} trials"
    if description.kind == "tpe":
        trials += f", chosen during the sweep; of the first {MOST_COUNTED:,} points at most"
    printer.line(f"{trials}: to compute {lists[0]}; in the store {lists[1]}")
    if without_effect:
        printer.line(f"{', '.join(without_effect)}: no value changes the result")
