"""Page of a sweep: its scores, all trials, and figures of parameters and objective."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Mapping

from ...platform.errors import InputError
from ...platform.records.field_labels import short_text
from ...platform.records.schema import RunRecord, Score, SweepRecord, Trial
from ...platform.tuning import spaces
from ...platform.tuning.budget import spending
from ...platform.tuning.objectives import leading_points, parse_rule, ranking_by, standing
from ..content.records import Entry, Records
from ..figures import optimization
from ..figures.paper import paper_figure
from ..figures.parallel_coordinates import parallel_coordinates
from ..figures.sensitivity import sensitivity
from ..labels import (
    count_text,
    drawable_sweep,
    is_done,
    method_title,
    objectives_text,
    result_title,
)
from ..tables import front_table, summary_table, trial_table
from .layout import Going, Header, Link, Page, Section, facts_with_values, pill_unless_done

Runs = Mapping[str, Entry[RunRecord]]


def sweep_page(entry: Entry[SweepRecord], records: Records) -> Page:
    """Return the page of a sweep, finished or not.

    Scores on all splits come from the runs of the chosen point and of the untuned preset, where
    both are in the store; a sweep over random seeds has a run for the first seed.

    Args:
        entry: the sweep.
        records: reads the runs of the store.
    """
    runs = records.runs() if entry.record.run else {}
    entry = dataclasses.replace(entry, record=drawable_sweep(entry.record))
    sweep = entry.record
    shares = optimization.importances(sweep)
    figures = [[paper_figure(sweep, figure)] for figure in _papers(sweep)]
    figures += [[parallel_coordinates(sweep)], [sensitivity(sweep)]]
    figures += [[optimization.importance(sweep, shares), optimization.history(sweep)]]
    figures += [[optimization.pairs(sweep, shares)]]
    scores = _on_all_splits(sweep, runs) or [
        (f"{_subject(sweep, trial)}, {name}", trial.score)
        for name, trial in _chosen(sweep).items()
        if trial.score
    ]
    sections = [
        Section(key="trials", title="Trials", content=trial_table(sweep)),
        Section(key="figures", title="Parameters", content=figures),
    ]
    if len(sweep.objectives) > 1:
        front = Section(key="front", title="Pareto front", content=front_table(sweep))
        sections.insert(0, front)
    if scores:
        summary = Section(key="summary", title="Scores", content=summary_table(scores))
        sections.insert(0, summary)
    return Page(
        template="sweep.html",
        title=sweep.name,
        header=_header(entry, runs),
        sections=sections,
        content=sweep.split,
        data=(("page", f"sweep.{sweep.name}.html"),),
    )


def _on_all_splits(sweep: SweepRecord, runs: Runs) -> list[tuple[str, Score]]:
    """Return the scores of the untuned preset and the chosen point; none before both have run."""
    entries = {"untuned": runs.get(sweep.untuned or ""), "tuned": runs.get(sweep.run or "")}
    done = {which: e.record for which, e in entries.items() if e and e.record.scores}
    if len(done) < len(entries):
        return []
    params = next((t.params for t in sweep.trials if t.id == sweep.best), {})
    named = {
        "untuned": sweep.default.get(spaces.COMBINATION),
        "tuned": params.get(spaces.COMBINATION),
    }
    several = len({t.seed for t in sweep.trials}) > 1
    out = []
    for which, run in done.items():
        seed = f", random seed {run.seed}" if several else ""
        for id in (run.subject, *run.later_results()):
            title = named[which] if named[which] and id == run.subject else result_title(id)
            rows = run.scores.get(id, {}).values()
            out += [(f"{title}, {which}{seed}", score) for score in rows]
    return out


def _subject(sweep: SweepRecord, trial: Trial) -> str:
    """Return the name of the class maps that a trial scores."""
    return str(trial.params.get(spaces.COMBINATION, method_title(sweep.method)))


def _papers(sweep: SweepRecord) -> list[spaces.PaperFigure]:
    """Return the paper's figure that the sweep reproduces, as a list of one or none."""
    if not sweep.figure:
        return []
    try:
        return [spaces.find_figure(sweep.figure)[1]]
    except InputError:
        return []


def _chosen(sweep: SweepRecord) -> dict[str, Trial]:
    """Return the trial of the untuned preset and the chosen trial, so far as they have scores."""
    chosen: dict[str, Trial] = {}
    for trial in sweep.trials:
        if trial.score and trial.params == sweep.default:
            chosen.setdefault("default", trial)
        if trial.score and trial.id == sweep.best:
            chosen["chosen trial"] = trial
    return dict(sorted(chosen.items(), reverse=True))


def _header(entry: Entry[SweepRecord], runs: Collection[str]) -> Header:
    sweep = entry.record
    count = {s: sum(t.status == s for t in sweep.trials) for s in ("done", "failed", "stopped")}
    kinds = ", ".join(f"{n} {s}" for s, n in count.items() if n) or "none yet"
    facts: list[tuple[str, object]] = [
        ("method", method_title(sweep.method)),
        ("data set", sweep.dataset),
        ("objective" if len(sweep.objectives) == 1 else "objectives", objectives_text(sweep)),
        ("rule of the best point", sweep.rule if sweep.rule != "miou" else ""),
        ("trials", kinds),
        ("started", sweep.started),
        ("computed", spending(sweep)),
        ("time", f"{sweep.seconds:,.1f} s" if sweep.seconds else ""),
        ("cache", _shared(sweep)),
        ("default", _params(sweep, sweep.default)),
        _leaders(sweep) if entry.progress is None else _leader_so_far(sweep),
    ]
    linked = {"Run of the chosen trial": sweep.run, "Untuned run": sweep.untuned}
    return Header(
        title=sweep.name,
        state=pill_unless_done(entry.status),
        going=_going(entry),
        facts=facts_with_values(facts),
        links=[Link(file=f"run.{n}.html", text=t) for t, n in linked.items() if n in runs],
        command=sweep.command,
    )


def _leaders(sweep: SweepRecord) -> tuple[str, str]:
    """Return title and text of the fact that says which points lead a sweep."""
    points = leading_points(sweep)
    if not points:
        return "best", ""
    first = points[0].trials[0]
    params, word = _params(sweep, first.params), standing(sweep)[first.id]
    if word == "tied":
        seeds = len({t.seed for t in sweep.trials})
        return "tied for best", (
            f"{count_text(len(points), 'point')}, whose difference lies within the spread over "
            f"{count_text(seeds, 'random seed')}; chosen: {params}"
        )
    note = " (one random seed, so that it may lead by chance)" if word == "chosen" else ""
    return word, params + note


def _leader_so_far(sweep: SweepRecord) -> tuple[str, str]:
    """Return title and text of the fact that says which point leads an unfinished sweep."""
    ranked = ranking_by(sweep.trials, parse_rule(sweep.rule))
    return "leader so far", _params(sweep, ranked[0].trials[0].params) if ranked else ""


def _going(entry: Entry[SweepRecord]) -> Going | None:
    p = entry.progress
    if p is None:
        return None
    verb = "Now" if p.alive else "Stopped at"
    state = f"{p.done} of {p.total} trials have ended" if p.total else p.text
    return Going(
        text=f"{verb}: {state or 'before the first trial'}",
        share=p.done / p.total if p.total else 0.0,
        label="sweep progress",
    )


def _shared(sweep: SweepRecord) -> str:
    """Return how many trials reused every stage, and about how much time that saved."""
    cached = [t for t in sweep.trials if t.cached]
    durations = [t.seconds for t in sweep.trials if not t.cached and is_done(t)]
    if not cached or not durations:
        return f"{count_text(len(cached), 'trial')} reused every stage" if cached else ""
    median = statistics.median(durations)
    saved = sum(max(0.0, median - t.seconds) for t in cached)
    return (
        f"{count_text(len(cached), 'trial')} reused every stage; about {saved:,.0f} s saved, "
        f"at the median of {median:,.1f} s for other trials"
    )


def _params(sweep: SweepRecord, params: Mapping[str, object]) -> str:
    labels = sweep.labels
    return ", ".join(f"{labels[field]} {short_text(value)}" for field, value in params.items())
