"""The commands that carry out experiments: `run`, `compare` and `ablate`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..data.sources.source import check_name
from ..errors import InputError
from ..records.progress import ProgressDisplay, ProgressLines
from ..records.progress_file import ProgressRecorder
from ..records.result_id import ResultId
from ..records.schema import RunRecord, read_run
from ..storage.json_files import write_json
from ..storage.store import Store, open_store
from . import resolve
from .options.experiment_options import AblateOptions, CompareOptions, ExperimentOptions, RunOptions
from .options.kinds import Quiet
from .pages import check_page, write_run_pages
from .tables import Printer, comparison_table, score_table

if TYPE_CHECKING:
    from ..pipeline.context import Catalog
    from ..pipeline.execution import Execution
    from ..pipeline.plan import Plan


def run(options: RunOptions, command: str) -> None:
    """Carry out `wsss run`: one run for each seed, a table of scores, and a page."""
    from ..pipeline.planner import plan

    store = open_store(options.store)
    check_page(options.page)
    records, catalog = [], catalog_of(store)
    for seed in options.seeds:
        planned = plan(resolve.experiment(options, store, seed), catalog)
        name = options.name and (
            options.name if len(options.seeds) == 1 else f"{options.name}-{seed}"
        )
        records.append(carry_out(store, planned, name, command, options))
    printer = Printer(options.format)
    printer.table(score_table(records))
    write_run_pages(printer, store, options.page, [records[0].name])


def compare(options: CompareOptions, command: str) -> None:
    """Carry out `wsss compare`: run several methods, and print their scores in one table."""
    combinations = {text: resolve.parse_combination(text) for text in options.methods}
    _side_by_side(options, command, combinations)


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
    _side_by_side(options, command, {"cam": {"method": "cam"}, **rows})


def _side_by_side(
    options: CompareOptions | AblateOptions, command: str, variants: Mapping[str, resolve.Variant]
) -> None:
    """Run experiments over all seeds and print one table; all are checked before the first runs.

    Args:
        options: the options of the command.
        command: the command line.
        variants: by title, the arguments of `resolve.experiment` that differ.
    """
    from ..pipeline.planner import plan

    if options.imported:
        raise InputError("imported class maps belong to no method; leave out --imported")
    store = open_store(options.store)
    experiments = {
        title: [resolve.experiment(options, store, seed, **variant) for seed in options.seeds]
        for title, variant in variants.items()
    }
    resolve.check_used(options, [per_seed[0] for per_seed in experiments.values()])
    catalog = catalog_of(store)
    plans = {title: [plan(e, catalog) for e in per_seed] for title, per_seed in experiments.items()}
    holders = _title_of_run({title: per_seed[0] for title, per_seed in plans.items()})
    records = {
        title: [carry_out(store, p, None, command, options) for p in per_seed]
        for title, per_seed in plans.items()
        if title in holders.values()
    }
    rows = []
    for title, per_seed in plans.items():
        new_rows = table_rows(title, per_seed[0].subject, records[holders[title]])
        rows += new_rows if holders[title] == title else new_rows[:1]
    Printer(options.format).table(comparison_table(rows))


def table_rows(
    title: str, subject: ResultId, runs: Sequence[RunRecord]
) -> list[tuple[str, ResultId, Sequence[RunRecord]]]:
    """Return the rows of an experiment in `comparison_table`: its class maps, then later results.

    Args:
        title: title of the experiment.
        subject: the class maps.
        runs: the runs of the experiment, one for each seed.
    """
    start = f"{subject}/"
    later = [
        (f"{title} > {str(id).removeprefix(start)}", id, runs) for id in runs[0].later_results()
    ]
    return [(title, subject, runs), *later]


def _title_of_run(plans: Mapping[str, Plan]) -> dict[str, str]:
    """Return by title of each experiment the title of the experiment whose run has its scores.

    This is the experiment itself, or an experiment whose plan covers the plan of this experiment.
    """
    return {
        title: next((t for t, p in plans.items() if p is not plan and p.covers(plan)), title)
        for title, plan in plans.items()
    }


def catalog_of(store: Store) -> Catalog:
    """Return the facts about the store and the machine that plans depend on."""
    from ..pipeline.context import Catalog

    return Catalog.of(store)


@contextlib.contextmanager
def progress_for(options: Quiet) -> Iterator[ProgressRecorder]:
    """Yield the progress display that the options and standard error select."""
    display = ProgressDisplay() if options.quiet else ProgressLines()
    if not options.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from ..records.terminal_progress import Terminal

        display = Terminal()
    try:
        yield ProgressRecorder(display)
    finally:
        display.close()


def carry_out(
    store: Store, plan: Plan, name: str | None, command: str, options: ExperimentOptions
) -> RunRecord:
    """Carry out a plan, print one line about it, and return the record of the run.

    Raises:
        InputError: the name belongs to another run, or the store cannot be written.
    """
    from ..pipeline.execution import Execution

    with progress_for(options) as progress:
        execution = Execution(store, plan, progress)
        return _carry_out(execution, name, command, progress, Printer(options.format))


def _carry_out(
    execution: Execution,
    name: str | None,
    command: str,
    progress: ProgressRecorder,
    printer: Printer,
) -> RunRecord:
    """Carry out an execution; as `carry_out`, with a display of its progress."""
    from ..config.yaml_writer import EXPERIMENT_FILE, experiment_file
    from ..pipeline import run_record

    store, plan, e = execution.store, execution.plan, execution.plan.experiment
    started, began = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
    name = check_name(name or f"{e.localizer_name}-{e.data}-{plan.digest[:8]}")
    folder = store.location("runs", name)
    file = folder / "run.json"
    earlier = read_run(file) if file.exists() else None
    if earlier and earlier.digest != plan.digest:
        raise InputError(f"the name {name!r} is taken by another run; choose another --name")
    missing = execution.missing()
    if missing or not earlier:
        needed = f"{len(missing)} of {len(plan.steps)} stages are missing"
        store.check_writable(f"run {name!r} ({needed})", f"runs/{name}")
    with progress.track(folder, run_record.begun_run(execution, name, command, started)):
        execution.execute()
        if earlier and not missing:
            printer.line(
                f"run {name}: nothing to do, all {len(plan.steps)} stages are already in the store"
            )
            return earlier
        for artifact, stage in execution.done.values():
            for id in artifact.about.get("unrefined", []):
                printer.line(
                    f"{stage.title}: DenseCRF crashed on {id}, which keeps its unrefined labels"
                )
        seconds = time.monotonic() - began
        record = run_record.ended_run(execution, name, command, started, seconds)
        (folder / EXPERIMENT_FILE).write(experiment_file(e).encode())
        write_json(file, record)
    printer.line(
        f"run {name}: {len(missing)} of {len(plan.steps)} stages computed, {record.seconds} s"
    )
    return record
