"""The page of a sweep: what was tried, what it gave, what decided it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Mapping
from typing import Any

from ...platform.errors import InputError
from ...platform.records.schema import RunRecord, Score, SweepRecord, Trial
from ...platform.tuning import spaces
from ..content.records import Entry, Records
from ..figures import optimization
from ..figures.paper import paper_figure
from ..figures.parallel_coordinates import parallel_coordinates
from ..figures.sensitivity import sensitivity
from ..labels import drawable_sweep, is_done, label, many, title_of
from .layout import Page, Section, command_lines, link, pill, plot, plots
from .tables import definitions, esc, summary_table, trial_table

Runs = Mapping[str, Entry[RunRecord]]


def sweep_page(entry: Entry[SweepRecord], records: Records) -> Page:
    """The page of a sweep, done or not; the runs of its best point and of the untuned preset, where
    they are known, say what both give on all splits (of several seeds the first)."""
    runs = records.runs() if entry.record.run else {}
    entry = dataclasses.replace(entry, record=drawable_sweep(entry.record))
    sweep = entry.record
    shares = optimization.importances(sweep)
    body = (
        "".join(plot(paper_figure(sweep, of)) for of in _papers(sweep))
        + plot(parallel_coordinates(sweep))
        + plot(sensitivity(sweep))
        + plots([optimization.importance(sweep, shares), optimization.history(sweep)])
        + plot(optimization.pairs(sweep, shares))
    )
    scores = _on_all_splits(sweep, runs) or [
        (f"{_subject(sweep, trial)}, {name}", trial.score)
        for name, trial in _chosen(sweep).items()
        if trial.score
    ]
    sections = [
        Section(key="trials", title="Trials", body=trial_table(sweep)),
        Section(key="figures", title="What decides", body=body),
    ]
    if scores:
        top = Section(key="summary", title="Scores", body=summary_table(scores))
        sections.insert(0, top)
    data = (("page", f"sweep.{sweep.name}.html"),)
    return Page(title=sweep.name, header=_header(entry, runs), sections=sections, data=data)


def _on_all_splits(sweep: SweepRecord, runs: Runs) -> list[tuple[str, Score]]:
    """The scores of the untuned preset and of the best point; none before both have run."""
    entries = {"untuned": runs.get(sweep.untuned or ""), "best": runs.get(sweep.run or "")}
    done = {which: e.record for which, e in entries.items() if e and e.record.scores}
    if len(done) < len(entries):
        return []
    best = next((t.params for t in sweep.trials if t.id == sweep.best), {})
    of = {"untuned": sweep.default.get(spaces.COMBINATION), "best": best.get(spaces.COMBINATION)}
    several = len({t.seed for t in sweep.trials}) > 1
    out = []
    for which, run in done.items():
        seed = f", seed {run.seed}" if several else ""
        for id in (run.subject, *run.later()):
            title = of[which] if of[which] and id == run.subject else title_of(id)
            rows = run.scores.get(id, {}).values()
            out += [(f"{title}, {which}{seed}", score) for score in rows]
    return out


def _subject(sweep: SweepRecord, trial: Trial) -> str:
    """Whose class maps a trial scores."""
    return str(trial.params.get(spaces.COMBINATION, label(sweep.method)))


def _papers(sweep: SweepRecord) -> list[Mapping[str, Any]]:
    """The figure of a paper that the sweep is for, if this version has it."""
    if not sweep.figure:
        return []
    try:
        return [spaces.figure(sweep.figure)[1]]
    except InputError:
        return []


def _chosen(sweep: SweepRecord) -> dict[str, Trial]:
    """The trial of the untuned preset and the best one, where there are any."""
    chosen: dict[str, Trial] = {}
    for trial in sweep.trials:
        if trial.score and trial.params == sweep.default:
            chosen.setdefault("default", trial)
        if trial.score and trial.id == sweep.best:
            chosen["best trial"] = trial
    return dict(sorted(chosen.items(), reverse=True))


def _header(entry: Entry[SweepRecord], known: Collection[str]) -> str:
    sweep, chosen = entry.record, _chosen(entry.record)
    count = {s: sum(t.status == s for t in sweep.trials) for s in ("done", "failed", "stopped")}
    kinds = ", ".join(f"{n} {s}" for s, n in count.items() if n) or "none yet"
    facts: list[tuple[str, object]] = [
        ("method", label(sweep.method)),
        ("data set", sweep.dataset),
        ("objective", f"best mIoU of the seed over its thresholds on {sweep.split}"),
        ("trials", kinds),
        ("started", sweep.started),
        ("time", f"{sweep.seconds:,.1f} s" if sweep.seconds else ""),
        ("shared", _shared(sweep)),
        ("default", _params(sweep, sweep.default)),
        ("best", _params(sweep, chosen["best trial"].params) if "best trial" in chosen else ""),
    ]
    note = (
        f'<p class="note">Parameters and seed threshold were chosen with the masks of '
        f"<em>{esc(sweep.split)}</em>: read scores on that split as an upper bound.</p>\n"
    )
    state = "" if entry.status == "done" else f" {pill(entry.status)}"
    named = {"The run of the best trial": sweep.run, "The untuned run": sweep.untuned}
    links = [link(f"run.{name}.html", title) for title, name in named.items() if name in known]
    run = f'<p class="links">{" · ".join(links)}</p>\n' if links else ""
    return (
        f"<h1>{esc(sweep.name)}{state}</h1>\n{_going(entry)}{definitions(facts)}{note}{run}"
        f"{command_lines([sweep.command])}"
    )


def _going(entry: Entry[SweepRecord]) -> str:
    p = entry.progress
    if p is None:
        return ""
    verb = "Now" if p.alive else "Stopped at"
    how = f"{p.done} of {p.total} trials have ended" if p.total else p.text
    share = p.done / p.total if p.total else 0.0
    return (
        f'<p class="going">{verb}: {esc(how or "before the first trial")} '
        f'<progress max="1" value="{share:.4f}" aria-label="trials"></progress></p>\n'
    )


def _shared(sweep: SweepRecord) -> str:
    """How many trials found all their stages computed by others, and about what that saved."""
    cached = [t for t in sweep.trials if t.cached]
    rest = [t.seconds for t in sweep.trials if not t.cached and is_done(t)]
    if not cached or not rest:
        return f"{many(len(cached), 'trial')} computed nothing of their own" if cached else ""
    usual = statistics.median(rest)
    saved = sum(max(0.0, usual - t.seconds) for t in cached)
    return (
        f"{many(len(cached), 'trial')} computed nothing of their own; about {saved:,.0f} s saved, "
        f"at the {usual:,.1f} s that half of the others took at most"
    )


def _params(sweep: SweepRecord, params: Mapping[str, Any]) -> str:
    labels = sweep.labels
    return ", ".join(f"{labels[field]} {value}" for field, value in params.items())
