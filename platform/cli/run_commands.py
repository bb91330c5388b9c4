"""The commands that carry experiments out: `run`, `compare` and `ablate`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data.sources.source import check_name
from ..errors import InputError
from ..records.progress import Lines, Silent
from ..records.progress_file import Recorded
from ..records.result_id import ResultId
from ..records.schema import RunRecord, read_run
from ..storage import filesystem
from ..storage.json_files import write_json
from ..storage.s3_store import open_store
from ..storage.store import Store
from . import resolve
from .pages import check_page, say, show
from .tables import comparison, score_table

if TYPE_CHECKING:
    from ..pipeline.context import Catalog
    from ..pipeline.plan import Plan


def run(options: argparse.Namespace, command: str) -> None:
    """`wsss run`: one run for each seed, a table, a page."""
    from ..pipeline.planner import plan

    store = open_store(options.store)
    check_page(options.page)
    records, catalog = [], catalog_of(store)
    for seed in options.seeds:
        planned = plan(resolve.experiment(options, store, seed), catalog)
        name = options.name and (
            options.name if len(options.seeds) == 1 else f"{options.name}-{seed}"
        )
        records.append(carry_out(store, planned, name, command, progress_for(options)))
    say(score_table(records))
    show(store, options.page, [records[0].name])


def compare(options: argparse.Namespace, command: str) -> None:
    """`wsss compare`: methods, or methods read by others' localizers, in one table."""
    wanted = {text: resolve.combination(text) for text in options.methods}
    _side_by_side(options, command, wanted)


def ablate(options: argparse.Namespace, command: str) -> None:
    """`wsss ablate`: plain CAM, then the parts of a method one after the other.

    Raises:
        InputError: the method does not say what its parts are.
    """
    from ..method import find

    parts = find(options.method).ablation
    if not parts:
        raise InputError(f"method {options.method!r} names no parts to take away")
    rows = {
        title: {"method": options.method, "localizer": options.localizer, "changes": changes}
        for title, changes in parts.items()
    }
    _side_by_side(options, command, {"cam": {"method": "cam"}, **rows})


def _side_by_side(
    options: argparse.Namespace, command: str, wanted: Mapping[str, Mapping[str, Any]]
) -> None:
    """Carries experiments out over the seeds and prints one table; all are checked first."""
    from ..pipeline.planner import plan

    if options.imported:
        raise InputError("imported class maps are no method's; leave out --imported")
    store = open_store(options.store)
    experiments = {
        title: [resolve.experiment(options, store, seed, **how) for seed in options.seeds]
        for title, how in wanted.items()
    }
    resolve.check_used(options, [of_seed[0] for of_seed in experiments.values()])
    catalog = catalog_of(store)
    plans = {title: [plan(e, catalog) for e in of] for title, of in experiments.items()}
    holders = _holders({title: of_seed[0] for title, of_seed in plans.items()})
    done = {
        title: [carry_out(store, p, None, command, progress_for(options)) for p in of_seed]
        for title, of_seed in plans.items()
        if title in holders.values()
    }
    rows = []
    for title, of_seed in plans.items():
        own = table_rows(title, of_seed[0].subject, done[holders[title]])
        rows += own if holders[title] == title else own[:1]
    say(comparison(rows))


def table_rows(
    title: str, subject: ResultId, runs: Sequence[RunRecord]
) -> list[tuple[str, ResultId, Sequence[RunRecord]]]:
    """The rows of `tables.comparison` for an experiment: its class maps, then what became of
    them."""
    start = f"{subject}/"
    later = [(f"{title} > {str(id).removeprefix(start)}", id, runs) for id in runs[0].later()]
    return [(title, subject, runs), *later]


def _holders(plans: Mapping[str, Plan]) -> dict[str, str]:
    """For each experiment the one among them whose run has its scores: itself, or where another
    reads the same class maps on its way to its own, that."""
    return {
        title: next((t for t, p in plans.items() if p is not plan and p.covers(plan)), title)
        for title, plan in plans.items()
    }


def catalog_of(store: Store) -> Catalog:
    """What the plans of a command need to know of the store and the machine."""
    from ..pipeline.context import Catalog

    return Catalog.of(store)


def progress_for(options: argparse.Namespace) -> Silent:
    return Silent() if options.quiet else Lines()


def carry_out(
    store: Store, plan: Plan, name: str | None, command: str, progress: Silent
) -> RunRecord:
    from ..pipeline import run_record
    from ..pipeline.execution import Execution

    started, began = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
    recorded = Recorded(progress)
    execution = Execution(store, plan, recorded)
    e = plan.experiment
    name = check_name(name or f"{e.localizer_name}-{e.data}-{plan.digest[:8]}")
    path = store.root / "runs" / name / "run.json"
    before = read_run(path) if filesystem.exists(path) else None
    if before and before.digest != plan.digest:
        raise InputError(f"the name {name!r} is taken by another run; choose another --name")
    missing = execution.missing()
    if missing or not before:
        needed = f"{len(missing)} of {len(plan.steps)} stages are missing"
        store.check_writable(f"run {name!r} ({needed})", f"runs/{name}")
    with recorded.under(path.parent, run_record.begun_run(execution, name, command, started)):
        execution.execute()
        if before and not missing:
            say(f"run {name}: nothing to do, all {len(plan.steps)} stages were already there")
            return before
        for artifact, stage in execution.done.values():
            for id in artifact.about.get("unrefined", []):
                say(f"{stage.title}: DenseCRF died on {id}, which keeps its unrefined labels")
        seconds = time.monotonic() - began
        record = run_record.ended_run(execution, name, command, started, seconds)
        write_json(path, record)
    say(f"run {name}: {len(missing)} of {len(plan.steps)} stages computed, {record.seconds} s")
    return record
