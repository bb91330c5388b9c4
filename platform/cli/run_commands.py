"""The commands that carry out experiments: `run`, `compare` and `ablate`.

The functions that compute, `run_records` and `compared_rows`, print nothing but lines on the work;
the Python API calls them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import InputError
from ..records.progress_file import progress_display
from ..records.schema import RunRecord
from ..storage.store import Store, open_store
from . import resolve
from .options.experiment_options import AblateOptions, CompareOptions, ExperimentOptions, RunOptions
from .pages import check_page, write_run_pages
from .tables import Printer, comparison_table, score_table

if TYPE_CHECKING:
    from ..pipeline.context import Catalog
    from ..pipeline.plan import Plan
    from ..pipeline.run import Row

Say = Callable[[str], None]
"""A function that takes a line on what was done."""


def run(options: RunOptions, command: str) -> None:
    """Carry out `wsss run`: one run for each seed, a table of scores, and a page."""
    store, printer = open_store(options.store), Printer(options.format)
    check_page(options.page)
    records = run_records(options, store, command, printer.line)
    printer.table(score_table(records))
    write_run_pages(printer, store, options.page, [records[0].name])


def run_records(options: RunOptions, store: Store, command: str, line: Say) -> list[RunRecord]:
    """Carry out one run for each seed and return the records.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        line: takes a line on each run.

    Raises:
        InputError: the options describe no experiment, or the name belongs to another run.
    """
    from ..pipeline.planner import plan

    records, catalog = [], catalog_of(store)
    for seed in options.seeds:
        planned = plan(resolve.experiment(options, store, seed), catalog)
        name = options.name and (
            options.name if len(options.seeds) == 1 else f"{options.name}-{seed}"
        )
        records.append(carry_out(store, planned, name, command, options, line))
    return records


def compare(options: CompareOptions, command: str) -> None:
    """Carry out `wsss compare`: run several methods, and print their scores in one table."""
    _print_compared(options, command, combinations(options))


def combinations(options: CompareOptions) -> dict[str, resolve.Variant]:
    """Return by title the arguments of `resolve.experiment` for each method of the options."""
    return {text: resolve.parse_combination(text) for text in options.methods}


def ablate(options: AblateOptions, command: str) -> None:
    """Carry out `wsss ablate`: run CAM and the rows of a method's ablation in one table.

    Raises:
        InputError: the method has no ablation.
    """
    from ..method import find_method

    ablation = find_method(options.method).ablation
    if not ablation:
        raise InputError(f"method {options.method!r} has no ablation; choose another method")
    rows: dict[str, resolve.Variant] = {
        title: {"method": options.method, "localizer": options.localizer, "changes": changes}
        for title, changes in ablation.items()
    }
    _print_compared(options, command, {"cam": {"method": "cam"}, **rows})


def _print_compared(
    options: CompareOptions | AblateOptions, command: str, variants: Mapping[str, resolve.Variant]
) -> None:
    printer = Printer(options.format)
    store = open_store(options.store)
    printer.table(comparison_table(compared_rows(options, store, command, variants, printer.line)))


def compared_rows(
    options: CompareOptions | AblateOptions,
    store: Store,
    command: str,
    variants: Mapping[str, resolve.Variant],
    line: Say,
) -> list[Row]:
    """Run experiments over all seeds and return the rows of one table with their scores.

    All experiments are checked before the first one runs.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        variants: by title, the arguments of `resolve.experiment` that differ.
        line: takes a line on each run.

    Raises:
        InputError: the options do not fit one of the experiments.
    """
    from ..pipeline.run import compared

    if options.imported:
        raise InputError("imported class maps belong to no method; leave out --imported")
    experiments = {
        title: [resolve.experiment(options, store, seed, **variant) for seed in options.seeds]
        for title, variant in variants.items()
    }
    resolve.check_used(options, [per_seed[0] for per_seed in experiments.values()])
    return compared(
        catalog_of(store),
        experiments,
        lambda planned: carry_out(store, planned, None, command, options, line),
    )


def catalog_of(store: Store) -> Catalog:
    """Return the facts about the store and the machine that plans depend on."""
    from ..pipeline.context import Catalog

    return Catalog.of(store)


def carry_out(
    store: Store,
    planned: Plan,
    name: str | None,
    command: str,
    options: ExperimentOptions,
    line: Say,
) -> RunRecord:
    """Carry out a plan, say what was done, and return the record of the run.

    Raises:
        InputError: the name belongs to another run, or the store cannot be written.
    """
    from ..pipeline.run import carry_out as carry_out_plan

    with progress_display(options.quiet) as progress:
        outcome = carry_out_plan(store, planned, name, command, progress)
    for text in outcome.lines:
        line(text)
    return outcome.record
