"""The page of a run: its scores, stages, training, curves, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...platform.data import npz
from ...platform.errors import InputError
from ...platform.metrics import THRESHOLDS
from ...platform.records.schema import RunRecord, Score
from ...platform.serialization import as_json
from ..content.artifact_cache import ArtifactCache
from ..content.gallery import by_stage, pictured, splits
from ..content.records import TRAINED, Entry, Records
from ..figures import scores as figures_scores
from ..figures import training
from ..figures.training import Counts
from ..labels import label, scope, title_of
from . import prototypes
from .layout import Page, Section, command_lines, link, pill, plot, plots
from .tables import definitions, esc, stage_table, summary_table, table, word

Named = list[tuple[str, Score]]


def scores_of(run: RunRecord) -> Named:
    """(label, score) of class maps and labels as they came about, splits in their order."""
    return [(title_of(id), s) for id in by_stage(run) for s in run.scores[id].values()]


def run_page(entry: Entry[RunRecord], records: Records, artifacts: ArtifactCache) -> Page:
    """The page of a run, done or not.

    Args:
        entry: the run.
        records: for what its training wrote.
        artifacts: for what its artifacts tell; one that is gone leaves its figure out.
    """
    run, scores = entry.record, scores_of(entry.record)
    others = len(records.names("runs")) > 1
    sections = []
    if scores:
        sections.append(Section(key="summary", title="Scores", body=summary_table(scores)))
    sections.append(Section(key="stages", title="Stages", body=_stages(entry, records)))
    trained = _training(run, records)
    if trained:
        sections.append(Section(key="training", title="Training", body=trained))
    if scores:
        body = _curves(scores, run, artifacts)
        sections.append(Section(key="curves", title="Thresholds and classes", body=body))
    sections.append(Section(key="settings", title="Settings", body=_settings(run, artifacts)))
    data = (("page", f"run.{run.name}.html"),)
    return Page(
        title=run.name,
        header=_header(entry, scores, artifacts, others),
        sections=sections,
        data=data,
    )


def _header(entry: Entry[RunRecord], scores: Named, artifacts: ArtifactCache, others: bool) -> str:
    run = entry.record
    counts = ", ".join(dict.fromkeys(f"{s.split} ({s.n:,})" for _, s in scores))
    facts: list[tuple[str, object]] = [
        ("method", label(run.method)),
        ("data set", run.dataset),
        ("splits (images)", counts),
        ("seed", run.seed),
        ("started", run.started),
        ("machine", run.machine),
        ("rule", " / ".join(dict.fromkeys(s.rule for _, s in scores))),
    ]
    links = [link(f"compare.html?a={run.name}", "Compare with another run")] if others else []
    if prototypes.kept(run, artifacts):
        links.insert(0, link(f"prototypes.{run.name}.html", "Prototypes"))
    if pictured(run):
        links.insert(0, link(f"images.{run.name}.html", "Images"))
    state = "" if entry.status == "done" else f" {pill(entry.status)}"
    fault = f'<p class="note">{esc(entry.fault)}</p>\n' if entry.fault else ""
    return (
        f"<h1>{esc(run.name)}{state}</h1>\n{fault}{_going(entry)}{lead(scores)}{definitions(facts)}"
        f'<p class="links">{" · ".join(links)}</p>\n{command_lines([run.command])}'
    )


def _going(entry: Entry[RunRecord]) -> str:
    """Which step a run is at, where it is not done."""
    p = entry.progress
    if p is None:
        return ""
    title = p.titles[p.step - 1] if 0 < p.step <= len(p.titles) else "nothing yet"
    how = ", ".join(t for t in (p.text, f"{p.done} of {p.total}" if p.total else "") if t)
    share = p.done / p.total if p.total else 0.0
    verb = "Now" if p.alive else "Stopped at"
    return (
        f'<p class="going">{verb}: step {p.step} of {len(p.titles)}, {esc(title)}'
        f"{': ' + esc(how) if how else ''} "
        f'<progress max="1" value="{share:.4f}" aria-label="of this step"></progress></p>\n'
    )


def lead(scores: Named) -> str:
    """One sentence a split: the last label's mIoU beside the first's."""
    items = []
    for split, rows in by_split(scores).items():
        (first, base), (last, top) = next(iter(rows.items())), list(rows.items())[-1]
        text = f"<strong>{100 * top.value:.1f} %</strong> {esc(last)}"
        if last != first:
            gain = 100 * (top.value - base.value)
            text += f" against {100 * base.value:.1f} % {esc(first)} ({gain:+.1f} points)"
        items.append(f"<li><span>mIoU on {esc(split)}</span> {text}</li>")
    return f'<ul class="lead">{"".join(items)}</ul>\n' if items else ""


def by_split(scores: Named) -> Mapping[str, dict[str, Score]]:
    """The scores of each split by label."""
    out: dict[str, dict[str, Score]] = {}
    for name, score in scores:
        out.setdefault(score.split, {})[name] = score
    return out


def _stages(entry: Entry[RunRecord], records: Records) -> str:
    run = entry.record
    if entry.progress is None:
        return stage_table(run, {})
    there = [records.is_there(s) for s in run.stages]
    states = {s.key: "waiting" for s, done in zip(run.stages, there, strict=True) if not done}
    if states and entry.status == "running":
        states[next(iter(states))] = "running"
    return stage_table(run, states)


def _training(run: RunRecord, records: Records) -> str:
    shown = []
    for stage in run.stages:
        if stage.stage not in TRAINED:
            continue
        try:
            rows = records.metrics(stage)
        except InputError as error:
            shown.append(f'<p class="note">{esc(error)}</p>\n')
            continue
        if rows:
            shown.append(plot(training.training(stage.title, rows, run.name)))
    return "".join(shown)


def _curves(scores: Named, run: RunRecord, artifacts: ArtifactCache) -> str:
    parts = list(by_split(scores).values())
    drawn = [figures_scores.threshold_curve(_cut(rows), run.name) for rows in parts]
    drawn += [figures_scores.per_class_iou(rows, run.name) for rows in parts]
    drawn += [
        figures_scores.confusion(name, score, run.name)
        for name, score in (list(rows.items())[-1] for rows in parts)
        if score.confusion
    ]
    drawn += [
        figures_scores.parts(rows, run.name)
        for rows in parts
        if any(s.parts for s in rows.values())
    ]
    for split in splits(run):
        counts = _counts(run, split, artifacts)
        if counts:
            of = next(s for _, s in scores if s.split == split)
            drawn.append(training.reliability(counts, scope(of, run.name)))
    return plots(drawn)


def _cut(rows: Mapping[str, Score]) -> dict[str, Score]:
    """Scores that a threshold says something about: not those of labels, which were cut before."""
    return {name: s for name, s in rows.items() if s.boundary is None}


def _counts(run: RunRecord, split: str, artifacts: ArtifactCache) -> dict[str, Counts]:
    """Pixels by target, best class and score, of the class maps whose counts are in the store."""
    id_of = {of[split]: id for id, of in run.maps.items() if split in of}
    found = {}
    for stage in run.stages:
        if stage.stage != "scores":
            continue
        try:
            artifact = artifacts.open(stage.stage, stage.key)
            id = id_of.get(artifact.manifest["inputs"]["maps"])
            if id is None:
                continue
            curve = npz.read(artifact.path("counts.npz"), "curve")["curve"]
        except InputError:
            continue
        if curve.shape[2] == len(THRESHOLDS) + 1:
            found[title_of(id)] = curve
    return found


def _settings(run: RunRecord, artifacts: ArtifactCache) -> str:
    versions = [(word(k), word(v)) for k, v in sorted(run.versions.items())]
    settings = esc(json.dumps(as_json(run.experiment), indent=1, ensure_ascii=False))
    facts = [("status", run.status), ("digest", run.digest[:16]), ("data", run.shards[:16])]
    return (
        definitions(facts)
        + _left_out(run, artifacts)
        + "<details><summary>Versions</summary>"
        + table("Versions", ["package", "version"], versions)
        + "</details>\n<details><summary>Whole configuration</summary>"
        + f'<pre tabindex="0"><code>{settings}</code></pre></details>\n'
    )


def _left_out(run: RunRecord, artifacts: ArtifactCache) -> str:
    """The images that the data set was made without, and labels that were not refined."""
    lines: list[str] = []
    made = [(s.stage, s.key, s.title) for s in run.stages if s.stage == "labels"]
    for stage, key, title in (("shards", run.shards, "shards"), *made):
        try:
            about = artifacts.open(stage, key).about
        except InputError:
            continue
        lines += [f"left out: {fault}" for fault in about.get("quarantined", [])]
        lines += [f"{title}: {id} was not refined" for id in about.get("unrefined", [])]
    if not lines:
        return "<p>No image was left out.</p>\n"
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return f"<h3>{len(lines)} images left out or not refined</h3><ul>{items}</ul>\n"
