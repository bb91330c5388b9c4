"""What the commands do."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import asked, datasets, places
from .bucket import open_store
from .data.record import check_name
from .errors import InputError
from .live import Recorded
from .options import walk
from .progress import Lines, Silent
from .result_id import ResultId
from .runs import RunRecord, SweepRecord, read_run, write_json
from .shown import check_page, newest, say, show
from .shown import dashboard as dashboard
from .shown import report as report
from .store import Store, versions

if TYPE_CHECKING:
    from .experiment import Experiment
    from .pipeline import Plan
    from .steps.context import Catalog
    from .trial import Sweep


def data(options: argparse.Namespace, command: str) -> None:
    """`wsss data`: shards of a source, under a name."""
    store = open_store(options.store)
    source = asked.source(options)
    progress = _progress(options)
    artefact, cached = datasets.add(store, source, options.name, progress, options.quarantine)
    about = artefact.about
    counts = ", ".join(f"{split} {n}" for split, n in about["counts"].items())
    say(f"{options.name}: {counts} images, {len(about['classes'])} classes")
    for split, digest in about.get("digests", {}).items():
        say(f"{split}: list {digest['ids'][:12]}, masks {digest['masks'][:12]}")
    for fault in about["quarantined"]:
        say(f"left out: {fault}")
    if cached:
        say("nothing to do: the shards were already there")


def run(options: argparse.Namespace, command: str) -> None:
    """`wsss run`: one run for each seed, a table, a page."""
    from .planner import plan
    from .text import score_table

    store = open_store(options.store)
    check_page(options.page)
    records, catalog = [], catalog_of(store)
    for seed in options.seeds:
        planned = plan(asked.experiment(options, store, seed), catalog)
        name = options.name and (
            options.name if len(options.seeds) == 1 else f"{options.name}-{seed}"
        )
        records.append(_carry_out(store, planned, name, command, _progress(options)))
    say(score_table(records))
    show(store, options.page, [records[0].name])


def compare(options: argparse.Namespace, command: str) -> None:
    """`wsss compare`: methods, or methods read by others' localizers, in one table."""
    wanted = {text: asked.combination(text) for text in options.methods}
    _side_by_side(options, command, wanted)


def ablate(options: argparse.Namespace, command: str) -> None:
    """`wsss ablate`: plain CAM, then the parts of a method one after the other.

    Raises:
        InputError: the method does not say what its parts are.
    """
    from .method import find

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
    from .planner import plan
    from .text import comparison

    if options.imported:
        raise InputError("imported class maps are no method's; leave out --imported")
    store = open_store(options.store)
    experiments = {
        title: [asked.experiment(options, store, seed, **how) for seed in options.seeds]
        for title, how in wanted.items()
    }
    asked.check_used(options, [of_seed[0] for of_seed in experiments.values()])
    catalog = catalog_of(store)
    plans = {title: [plan(e, catalog) for e in of] for title, of in experiments.items()}
    holders = _holders({title: of_seed[0] for title, of_seed in plans.items()})
    done = {
        title: [_carry_out(store, p, None, command, _progress(options)) for p in of_seed]
        for title, of_seed in plans.items()
        if title in holders.values()
    }
    rows = []
    for title, of_seed in plans.items():
        own = _rows(title, of_seed[0].subject, done[holders[title]])
        rows += own if holders[title] == title else own[:1]
    say(comparison(rows))


def _rows(
    title: str, subject: ResultId, runs: Sequence[RunRecord]
) -> list[tuple[str, ResultId, Sequence[RunRecord]]]:
    """The rows of `text.comparison` for an experiment: its class maps, then what became of
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
    from .steps.context import Catalog

    return Catalog.of(store)


def _progress(options: argparse.Namespace) -> Silent:
    return Silent() if options.quiet else Lines()


def _carry_out(
    store: Store, plan: Plan, name: str | None, command: str, progress: Silent
) -> RunRecord:
    from . import recording
    from .execution import Execution

    started, began = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
    recorded = Recorded(progress)
    execution = Execution(store, plan, recorded)
    e = plan.experiment
    name = check_name(name or f"{e.localizer_name}-{e.data}-{plan.digest[:8]}")
    path = store.root / "runs" / name / "run.json"
    before = read_run(path) if places.exists(path) else None
    if before and before.digest != plan.digest:
        raise InputError(f"the name {name!r} is taken by another run; choose another --name")
    missing = execution.missing()
    if missing or not before:
        needed = f"{len(missing)} of {len(plan.steps)} stages are missing"
        store.check_writable(f"run {name!r} ({needed})", f"runs/{name}")
    with recorded.under(path.parent, recording.begun_run(execution, name, command, started)):
        execution.execute()
        if before and not missing:
            say(f"run {name}: nothing to do, all {len(plan.steps)} stages were already there")
            return before
        for artefact, stage in execution.done.values():
            for id in artefact.about.get("unrefined", []):
                say(f"{stage.title}: DenseCRF died on {id}, which keeps its unrefined labels")
        seconds = time.monotonic() - began
        record = recording.ended_run(execution, name, command, started, seconds)
        write_json(path, record)
    say(f"run {name}: {len(missing)} of {len(plan.steps)} stages computed, {record.seconds} s")
    return record


def sweep(options: argparse.Namespace, command: str) -> None:
    """`wsss sweep`: trials, the best one on all splits, a table, a page."""
    from .sweep import run as run_sweep
    from .text import best_points, comparison

    store = open_store(options.store)
    catalog = catalog_of(store)
    title, wanted = _described(options, store)
    base = wanted.base
    name = check_name(options.name or f"{base.localizer_name}-{base.data}-{title}")
    path = store.root / "sweeps" / name / "sweep.json"
    known = places.exists(path) and not options.resume
    began = time.monotonic()
    _check(catalog, options, [base, *wanted.bases.values()])
    if not known:
        _announce(catalog, wanted)
    recorded = Recorded(_progress(options))
    record = run_sweep(catalog, wanted, name, command, recorded, options.resume)
    untuned, best = _both(catalog, wanted, record, command, _progress(options))
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
    rows = _rows("untuned", untuned[0].subject, untuned) + _rows("best", chosen.subject, best)
    say(comparison(rows))
    show(store, options.page, [chosen.name, untuned[0].name], name)


def _described(options: argparse.Namespace, store: Store) -> tuple[str, Sweep]:
    """The name of the search space that the options give, and the sweep over it."""
    from . import spaces
    from .trial import Sweep

    base = asked.experiment(options, store, options.seed)
    title, space = spaces.find(base.localizer_name, options.space)
    return title, Sweep(
        base=base,
        bases=asked.combinations(options, store, space),
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
    from . import spaces
    from .sweep import run as run_sweep
    from .text import figure_table
    from .trial import Sweep

    store = open_store(options.store)
    method, found = spaces.figure(options.figure)
    if options.imported:
        raise InputError("a figure varies a method's own options; leave out --imported")
    if (options.refine or options.segment or options.recipe) and not options.host:
        raise InputError("a figure is of class maps; leave out --refine, --segment and --recipe")
    points = {repr(changes): changes for of in found["panels"].values() for _, changes, _ in of}
    space: dict[str, list[Any]] = {}
    for changes in points.values():
        for field, value in changes.items():
            space[field] = list(dict.fromkeys([*space.get(field, []), value]))
    base = asked.experiment(options, store, options.seed, method=method)
    asked.check_used(options, [base])
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
    if not places.exists(store.root / "sweeps" / name / "sweep.json"):
        _announce(catalog, wanted)
    recorded = Recorded(_progress(options))
    record = run_sweep(catalog, wanted, name, command, recorded, options.resume)
    say(figure_table(found, record))
    show(store, None, [], name)


def _both(
    catalog: Catalog, wanted: Sweep, record: SweepRecord, command: str, progress: Silent
) -> tuple[list[RunRecord], list[RunRecord]]:
    """The untuned experiment and that of the best point, on all splits, over the seeds."""
    from .planner import plan
    from .trial import best_experiment

    def record_of(experiment: Experiment) -> RunRecord:
        return _carry_out(catalog.store, plan(experiment, catalog), None, command, progress)

    pairs = [(wanted.seeded(seed), best_experiment(wanted, record, seed)) for seed in wanted.seeds]
    runs = [[record_of(e) for e in pair] for pair in pairs]
    return [pair[0] for pair in runs], [pair[1] for pair in runs]


def _check(catalog: Catalog, options: argparse.Namespace, plain: Sequence[Experiment]) -> None:
    """Check the untuned experiments and the page of a sweep before its trials.

    Raises:
        InputError: an experiment cannot be planned, or the page cannot be written.
    """
    from .planner import plan

    check_page(options.page)
    asked.check_used(options, plain)
    for experiment in plain:
        plan(experiment, catalog)


def _announce(catalog: Catalog, wanted: Sweep) -> None:
    """What the trials will compute together, and what of it is there."""
    from .trial import MOST_COUNTED, cost

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


def export(options: argparse.Namespace, command: str) -> None:
    """`wsss export`: a run's class maps or labels in the files of others."""
    from . import exports

    store, out = open_store(options.store), Path(options.out)
    run = read_run(store.root / "runs" / check_name(options.run or newest(store)) / "run.json")
    count = exports.write(store, run, out, options.to, options.what, options.split)
    say(f"{out}: {count} images as {options.to}")


def import_(options: argparse.Namespace, command: str) -> None:
    """`wsss import`: class maps or labels of others, under a name."""
    from . import imports

    store = open_store(options.store)
    found, cached = imports.add(
        store,
        kind=options.kind,
        folder=Path(options.path),
        data=options.data,
        name=options.name,
        splits=options.splits,
        progress=_progress(options),
    )
    what = "labels" if found.labels else "class maps"
    say(f"{options.name}: {what} of {', '.join(found.stages)}")
    if cached:
        say("nothing to do: they were already there")


def methods(options: argparse.Namespace, command: str) -> None:
    """`wsss methods`: their names, or the fields of one."""
    from .experiment import experiment
    from .method import find
    from .method import methods as all_methods

    if not options.method:
        for name, found in all_methods().items():
            say(f"{name:8}{found.source}  (presets: {', '.join(found.presets)})")
        return
    method = find(options.method)
    say(f"{method.name}: {method.source}\n")
    for name, value, field in walk(experiment(options.method, preset=options.preset)):
        say(f"{name} = {value!r}\n    {field.metadata['help']}")


def doctor(options: argparse.Namespace, command: str) -> None:
    """`wsss doctor`: machine, packages, store.

    Raises:
        InputError: something that every command needs is missing.
    """
    from .models.backbones import BACKBONES
    from .runs import machine

    store = open_store(options.store)
    say(f"machine   {machine()}")
    say("packages  " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    say(f"backbones {', '.join(BACKBONES)}")
    where = "" if str(store) == str(store.root) else f" in {store.root}"
    say(f"store     {store}, {store.free_bytes() / 1e9:.0f} GB free{where}")
    say(f"data sets {', '.join(datasets.names(store)) or 'none yet'}")
    needed = (
        "torch",
        "torchvision",
        "ray",
        "faiss",
        "pyarrow",
        "pycocotools",
        "pydensecrf",
        "plotly",
    )
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"missing packages: {', '.join(missing)}; run make env")
    if options.verify:
        _verify(store)
    for fault in store.faults():
        say(f"quarantine {fault}")


def _verify(store: Store) -> None:
    for stage, key in store.artefacts():
        seal = store.verify(stage, key)
        fault = store.unmoved.get(key)
        fate = f"not moved to quarantine: {fault}" if fault else "moved to quarantine"
        say(f"{stage}/{key[:12]} {seal or f'damaged, {fate}'}")
