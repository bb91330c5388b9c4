"""The commands that carry out sweeps: `sweep` and `figure`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..data.names import check_name
from ..errors import InputError
from ..records.field_labels import short_text
from ..storage.store import Store, open_store
from ..tuning import spaces
from ..tuning.budget import spending
from ..tuning.objectives import (
    OBJECTIVES,
    Objective,
    leading_points,
    pareto_front,
    parse_rule,
    standing,
)
from ..tuning.sweep import Sweep
from . import resolve
from .options.experiment_options import FigureOptions, SweepOptions
from .options.used import check_used
from .pages import check_page, write_run_pages
from .run_commands import Say, carry_out, catalog_of, check_log, tracked_display, tracking
from .tables import Printer, comparison_table, figure_table

if TYPE_CHECKING:
    from ..pipeline.context import Catalog
    from ..records.schema import SweepRecord
    from ..tuning.ranking import Point
    from ..tuning.scored_sweep import ScoredSweep
    from ..tuning.spaces import Space


def sweep(options: SweepOptions, command: str) -> None:
    """Carry out `wsss sweep`: run trials, score the best point on all splits, and write a page."""
    store, printer = open_store(options.store), Printer(options.format)
    check_page(options.page)
    scored = scored_sweep(options, store, command, printer.line)
    printer.table(comparison_table(scored.rows))
    runs = [scored.best[0].name, scored.untuned[0].name]
    write_run_pages(printer, store, options.page, runs, scored.record.name)


def scored_sweep(
    options: SweepOptions, store: Store, command: str, line: Say, space: Space | None = None
) -> ScoredSweep:
    """Carry out a sweep and the runs of its best point and of the untuned preset.

    Args:
        options: the options of the command.
        store: the store that takes artifacts and records.
        command: the command line or the Python call, for the records.
        line: takes lines on the sweep and its best point.
        space: the search space itself; None: the space that the options name.

    Raises:
        InputError: the options describe no sweep, or the sweep cannot be carried out.
    """
    from ..tuning.scored_sweep import run as run_scored_sweep

    catalog = catalog_of(store)
    title, description = resolve.sweep(options, store, space)
    base = description.base
    name = check_name(options.name or f"{base.localizer_name}-{base.data}-{title}")
    known = store.location("sweeps", name, "sweep.json").exists() and not options.resume
    _check(catalog, options, description)
    if not known:
        _announce(line, catalog, description)
    file = resolve.combinations_file(options, store, description) if description.bases else ""
    with tracking(options, store, base) as tracked:
        scored = run_scored_sweep(
            catalog,
            description,
            name,
            command,
            progress=partial(tracked_display, options, tracked),
            carry_out=lambda planned: carry_out(store, planned, None, command, options, line),
            resume=options.resume,
            file=file,
        )
        tracked.finish(scored.record)
    line(f"sweep {name}: {_summary(scored.record, known)}")
    for text in [*leaders(scored.record), *front(scored.record)]:
        line(text)
    return scored


def _summary(record: SweepRecord, known: bool) -> str:
    """Return in words what the trials of a sweep computed, over all passes of the sweep.

    Args:
        record: the record of the sweep.
        known: whether the record existed before the command.
    """
    done, total = sum(t.status == "done" for t in record.trials), len(record.trials)
    if known:
        return f"nothing to do, its {total} trials are already in the store"
    spent = spending(record)
    computed = f"; computed {spent}" if spent else ""
    return f"{done} of {total} trials, {record.seconds:.0f} s{computed}"


def figure(options: FigureOptions, command: str) -> None:
    """Carry out `wsss figure`: repeat a paper's figure beside the numbers that the paper prints."""
    from ..tuning.tuner import run as run_sweep

    store, printer = open_store(options.store), Printer(options.format)
    check_log(options, store)
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
    check_used(options, [base], description.domains)
    name = check_name(options.name or f"{options.figure}-{options.data}")
    catalog = catalog_of(store)
    if not store.location("sweeps", name, "sweep.json").exists():
        _announce(printer.line, catalog, description)
    with tracking(options, store, base) as tracked:
        with tracked_display(options, tracked) as progress:
            record = run_sweep(catalog, description, name, command, progress, options.resume)
        tracked.finish(record)
    printer.table(figure_table(published, record))
    write_run_pages(printer, store, None, [], name)


def _check(catalog: Catalog, options: SweepOptions, description: Sweep) -> None:
    """Check the trackers and the untuned experiments of a sweep before its trials.

    Raises:
        InputError: a tracker cannot be used, an experiment cannot be planned, an option has no
            effect, or a weight file does not fit, such as that of the segmenter, which no trial
            trains.
    """
    from ..pipeline.execution import check_missing
    from ..pipeline.planner import plan

    check_log(options, catalog.store)
    untuned = [description.base, *description.bases.values()]
    check_used(options, untuned, description.domains)
    for experiment in untuned:
        check_missing(catalog.store, plan(experiment, catalog).steps)


def _announce(line: Say, catalog: Catalog, description: Sweep) -> None:
    """Print how many stages the trials will compute together, and how many are in the store.

    Raises:
        InputError: the trials cannot be planned or scored.
    """
    from ..tuning.trial import planned_base

    planned_base(catalog, description)
    from ..tuning.costs.stage_counts import MOST_COUNTED, cost, is_countable, stages_by_field
    from ..tuning.search import chooses_as_results_come

    count = description.count * description.repeats
    trials = f"{count} trials"
    if description.budget:
        trials = f"at most {trials}, or {description.budget} of new computation"
    if chooses_as_results_come(description.kind):
        trials += ", chosen during the sweep"
    if not is_countable(description):
        line(f"{trials}; what a trial computes for a new value:")
        for field, stages in stages_by_field(catalog, description).items():
            line(f"  {field}: {', '.join(stages) or 'nothing, no value changes the result'}")
        return
    missing, stored, without_effect = cost(catalog, description)
    lists = [
        ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing"
        for counts in (missing, stored)
    ]
    if chooses_as_results_come(description.kind) or count > MOST_COUNTED:
        trials += f"; of the first {MOST_COUNTED:,} trials at most"
    line(f"{trials}: to compute {lists[0]}; in the store {lists[1]}")
    if without_effect:
        line(f"{', '.join(without_effect)}: no value changes the result")


def leaders(sweep: SweepRecord) -> list[str]:
    """Return a line on the chosen point of a sweep, and one on each point that is tied with it.

    The first line calls the chosen point best, tied or merely chosen, see `objectives.standing`.
    """
    points = leading_points(sweep)
    if not points:
        return []
    objective = OBJECTIVES[parse_rule(sweep.rule).objective]
    first, *tied = (_point(point, objective, sweep.labels) for point in points)
    word = standing(sweep)[points[0].trials[0].id]
    title = {"tied": "tied for best, and chosen,"}.get(word, word)
    name = "" if sweep.rule == "miou" else f" by {sweep.rule}"
    note = "; with one random seed, it may lead by chance" if word == "chosen" else ""
    lines = [f"{title} on {sweep.split}{name}: {first}{note}"]
    return lines + [f"tied with it: {text}" for text in tied]


def _point(point: Point, objective: Objective, labels: Mapping[str, str]) -> str:
    values = _values(point.trials[0].params, labels)
    if (seeds := len(point.trials)) == 1:
        return f"{values} ({objective.text(point.mean)})"
    spread = f"{objective.scale * point.mean:.1f} ± {objective.text(point.spread)}"
    return f"{values} ({spread} over {seeds} seeds)"


def _values(params: Mapping[str, object], labels: Mapping[str, str]) -> str:
    return ", ".join(f"{labels[field]} {short_text(value)}" for field, value in params.items())


def front(sweep: SweepRecord) -> list[str]:
    """Return a line on each point that no other point beats; none for a single objective."""
    if len(sweep.objectives) < 2:
        return []
    points = pareto_front(sweep.trials, sweep.objectives)
    lines = [f"on {sweep.split} no point beats these {len(points)}:"]
    for trial, means in points:
        figures = ", ".join(
            f"{OBJECTIVES[n].title} {OBJECTIVES[n].scale * mean:.1f}" for n, mean in means.items()
        )
        lines.append(f"  {_values(trial.params, sweep.labels)}: {figures}")
    return lines
