"""The commands that carry out experiments: `run`, `compare` and `ablate`.

The functions that compute, `run_records` and `compared_rows`, print nothing but lines on the work;
the Python API calls them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..data.names import is_name
from ..errors import InputError
from ..records.progress import ProgressDisplay
from ..records.progress_file import progress_display
from ..records.schema import RunRecord, read_run
from ..storage.store import Store, open_store
from . import resolve
from .ending import print_error
from .options.experiment_options import AblateOptions, CompareOptions, ExperimentOptions, RunOptions
from .options.used import check_used
from .pages import check_page, check_picture, picture_of, write_picture, write_run_pages
from .tables import Printer, comparison_table, score_rows

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..pipeline.context import Catalog
    from ..pipeline.plan import Plan
    from ..pipeline.run import Row
    from ..trackers.tracking import Tracking

Say = Callable[[str], None]
"""A function that takes a line on what was done."""


def run(options: RunOptions, command: str) -> None:
    """Carry out `wsss run`: one run for each seed, a table of scores, and a page."""
    store, printer = open_store(options.store), Printer(options.format)
    check_page(options.page)
    check_picture(options.picture)
    records = run_records(options, store, command, printer.line)
    rows = score_rows(records)
    printer.table(comparison_table(rows))
    write_run_pages(printer, store, options.page, [records[0].name])
    write_picture(printer, store, options.picture, rows)


def run_records(options: RunOptions, store: Store, command: str, line: Say) -> list[RunRecord]:
    """Carry out one run for each seed and return the records.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        line: takes a line on each run.

    Raises:
        InputError: the options describe no experiment, one of them has no effect, or the name
            belongs to another run.
    """
    from ..pipeline.planner import plan

    check_log(options, store)
    experiments = [resolve.experiment(options, store, seed) for seed in options.seeds]
    check_used(options, experiments)
    records, catalog = [], catalog_of(store)
    for seed, experiment in zip(options.seeds, experiments, strict=True):
        planned = plan(experiment, catalog)
        name = options.name and (
            options.name if len(options.seeds) == 1 else f"{options.name}-{seed}"
        )
        records.append(carry_out(store, planned, name, command, options, line))
    return records


def compare(options: CompareOptions, command: str) -> None:
    """Carry out `wsss compare`: run several methods, and print their scores in one table."""
    store, printer = open_store(options.store), Printer(options.format)
    check_picture(options.picture)
    rows = comparison_rows(options, store, command, printer.line)
    _print_rows(printer, store, options.picture, rows)


def comparison_rows(options: CompareOptions, store: Store, command: str, line: Say) -> list[Row]:
    """Run the methods of a comparison and return the rows of its table, finished runs last.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        line: takes a line on each run.

    Raises:
        InputError: the options do not fit a method or a finished run.
    """
    from ..pipeline.run import table_rows

    runs = {text: _finished_run(options, store, text) for text in options.methods}
    methods = {text: resolve.parse_combination(text) for text, run in runs.items() if not run}
    refinements = tuple(dict.fromkeys(options.refinements)) or ("",)
    variants: dict[str, list[resolve.Variant]] = {
        text: [{**variant, "refine": kind} for kind in refinements]
        for text, variant in methods.items()
    }
    rows = compared_rows(options, store, command, variants, line)
    for title, record in runs.items():
        rows += table_rows(title, record.subject, [record]) if record else []
    return rows


def _finished_run(options: CompareOptions, store: Store, text: str) -> RunRecord | None:
    """Return the record of the run that a word of a comparison names; None: it names a method.

    Raises:
        InputError: the run has another random seed or other data than the comparison.
    """
    from ..data import registry
    from ..method import method_names

    if not is_name(text) or text in method_names():
        return None
    file = store.location("runs", text, "run.json")
    if not file.exists():
        return None
    record = read_run(file)
    if options.seeds != (record.seed,):
        raise InputError(
            f"run {text!r} has random seed {record.seed}; compare it with --seeds {record.seed}"
        )
    if registry.open_dataset(store, options.data).key != record.shards:
        raise InputError(
            f"run {text!r} is on data set {record.dataset!r}, which is not what --data "
            f"{options.data} has; choose another run, or set --data"
        )
    return record


def ablate(options: AblateOptions, command: str) -> None:
    """Carry out `wsss ablate`: run CAM and the rows of a method's ablation in one table.

    CAM trains and localizes with the settings of the method, as the baseline of a paper does.

    Raises:
        InputError: the method has no ablation.
    """
    from ..method import find_method

    ablation = find_method(options.method).ablation
    if not ablation:
        raise InputError(f"method {options.method!r} has no ablation; choose another method")
    printer = Printer(options.format)
    store = open_store(options.store)
    check_picture(options.picture)
    whole: resolve.Variant = {"method": options.method, "localizer": options.localizer}
    variants: dict[str, list[resolve.Variant]] = {
        "cam": [{"method": "cam", "changes": _settings_for_cam(options, store, whole)}]
    }
    for title, changes in ablation.items():
        variants[title] = [{**whole, "changes": changes}]
    rows = compared_rows(options, store, command, variants, printer.line)
    _print_rows(printer, store, options.picture, rows)


def _settings_for_cam(
    options: AblateOptions, store: Store, variant: resolve.Variant
) -> dict[str, object]:
    """Return the fields of training, network and views in which CAM differs from a method."""
    from ..config.fields import walk

    seed = options.seeds[0]
    cam = resolve.experiment(options, store, seed, method="cam")
    values = {name: value for name, value, _ in walk(cam)}
    return {
        name: value
        for name, value, _ in walk(resolve.experiment(options, store, seed, **variant))
        if name.split(".")[0] in ("training", "network", "views") and value != values[name]
    }


def _print_rows(printer: Printer, store: Store, picture: str | None, rows: Sequence[Row]) -> None:
    printer.table(comparison_table(rows))
    write_picture(printer, store, picture, rows)


def compared_rows(
    options: CompareOptions | AblateOptions,
    store: Store,
    command: str,
    variants: Mapping[str, Sequence[resolve.Variant]],
    line: Say,
) -> list[Row]:
    """Run experiments over all seeds and return the rows of one table with their scores.

    All experiments are checked before the first one runs.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        variants: by title, the arguments of `resolve.experiment` that differ, for each refinement.
        line: takes a line on each run.

    Raises:
        InputError: the options do not fit one of the experiments.
    """
    from ..pipeline.run import compared

    check_log(options, store)
    if options.imported:
        raise InputError("imported class maps belong to no method; leave out --imported")
    experiments = {
        title: [
            [resolve.experiment(options, store, seed, **variant) for seed in options.seeds]
            for variant in by_refinement
        ]
        for title, by_refinement in variants.items()
    }
    check_used(options, [rows[0] for several in experiments.values() for rows in several])
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
    from ..pipeline.run import table_rows

    with tracking(options, store) as tracked:
        with tracked_display(options, tracked) as progress:
            outcome = carry_out_plan(store, planned, name, command, progress)
        for text in outcome.lines:
            line(text)
        record = outcome.record
        rows = table_rows(planned.subject.localizer, planned.subject, [record])
        tracked.finish(record, lambda: picture_of(store, rows))
    return record


def check_log(options: ExperimentOptions, store: Store) -> None:
    """Check, before anything is computed, that the trackers of --log can keep runs.

    Raises:
        InputError: a tracker is unknown, lacks a package or cannot be reached.
    """
    if options.log:
        from ..trackers.opening import check_trackers

        check_trackers(options.log, store.storage.local_folder)


def tracking(
    options: ExperimentOptions, store: Store, varied: Experiment | None = None
) -> Tracking:
    """Return the trackers of one run or sweep, as a context manager.

    Args:
        options: the options of the command.
        store: the store of the record.
        varied: the experiment that a sweep varies.
    """
    from ..trackers.contents import fields_of
    from ..trackers.opening import make_trackers
    from ..trackers.tracking import Tracking

    fields = fields_of(varied.as_dict()) if varied else {}
    trackers = make_trackers(options.log, store.storage.local_folder)
    return Tracking(trackers, store, print_error, fields)


@contextmanager
def tracked_display(options: ExperimentOptions, tracked: Tracking) -> Iterator[ProgressDisplay]:
    """Yield the display of progress of a command, which also sends it to trackers."""
    from ..trackers.tracking import TrackedDisplay

    with progress_display(options.quiet) as progress:
        yield TrackedDisplay(progress, tracked)
