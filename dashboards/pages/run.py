"""Page of a run: its scores, stages, training, threshold and class figures, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...platform.data import npz
from ...platform.errors import InputError
from ...platform.metrics import THRESHOLDS
from ...platform.records.schema import RunRecord, Score
from ...platform.serialization import as_json
from ..content.artifact_cache import ArtifactCache
from ..content.gallery import results_by_stage, scored_splits, splits_with_pictures
from ..content.records import TRAINING_STAGES, Entry, Records
from ..figures import training
from ..figures.scores import confusion, parts, per_class_iou, threshold_curve
from ..figures.training import Counts
from ..labels import method_title, result_title, score_scope
from . import prototypes
from .layout import Page, Section, command_lines, link, plot, plots, status_pill
from .tables import definition_list, escaped, stage_table, summary_table, table, text_cell

Named = list[tuple[str, Score]]


def titled_scores(run: RunRecord) -> Named:
    """Return (title, score) of all results of a run in pipeline order."""
    return [(result_title(id), s) for id in results_by_stage(run) for s in run.scores[id].values()]


def run_page(entry: Entry[RunRecord], records: Records, artifacts: ArtifactCache) -> Page:
    """Return the page of a run, finished or not.

    Args:
        entry: the run.
        records: reads the metrics of its trainings.
        artifacts: reads its artifacts; a figure whose artifact is missing is left out.
    """
    run, scores = entry.record, titled_scores(entry.record)
    others = len(records.names("runs")) > 1
    sections = []
    if scores:
        sections.append(Section(key="summary", title="Scores", body=summary_table(scores)))
    sections.append(Section(key="stages", title="Stages", body=_stages(entry, records)))
    trainings = _trainings(run, records)
    if trainings:
        sections.append(Section(key="training", title="Training", body=trainings))
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
        ("method", method_title(run.method)),
        ("data set", run.dataset),
        ("splits (images)", counts),
        ("random seed", run.seed),
        ("started", run.started),
        ("machine", run.machine),
        ("evaluation rule", " / ".join(dict.fromkeys(s.rule for _, s in scores))),
    ]
    links = [link(f"compare.html?a={run.name}", "Compare with another run")] if others else []
    if prototypes.class_maps_with_patches(run, artifacts):
        links.insert(0, link(f"prototypes.{run.name}.html", "Prototypes"))
    if splits_with_pictures(run):
        links.insert(0, link(f"images.{run.name}.html", "Images"))
    state = "" if entry.status == "done" else f" {status_pill(entry.status)}"
    fault = f'<p class="note">{escaped(entry.fault)}</p>\n' if entry.fault else ""
    return (
        f"<h1>{escaped(run.name)}{state}</h1>\n{fault}{_going(entry)}{score_summary(scores)}{definition_list(facts)}"
        f'<p class="links">{" · ".join(links)}</p>\n{command_lines([run.command])}'
    )


def _going(entry: Entry[RunRecord]) -> str:
    """Return the current step of an unfinished run as HTML."""
    p = entry.progress
    if p is None:
        return ""
    title = p.titles[p.step - 1] if 0 < p.step <= len(p.titles) else "not started"
    details = ", ".join(t for t in (p.text, f"{p.done} of {p.total}" if p.total else "") if t)
    share = p.done / p.total if p.total else 0.0
    verb = "Now" if p.alive else "Stopped at"
    return (
        f'<p class="going">{verb}: step {p.step} of {len(p.titles)}, {escaped(title)}'
        f"{': ' + escaped(details) if details else ''} "
        f'<progress max="1" value="{share:.4f}" aria-label="step progress"></progress></p>\n'
    )


def score_summary(scores: Named) -> str:
    """Return a line for each split: the mIoU of the last result beside the mIoU of the first."""
    items = []
    for split, rows in scores_by_split(scores).items():
        (first, base), (last, top) = next(iter(rows.items())), list(rows.items())[-1]
        text = f"<strong>{100 * top.value:.1f} %</strong> {escaped(last)}"
        if last != first:
            gain = 100 * (top.value - base.value)
            text += f" against {100 * base.value:.1f} % {escaped(first)} ({gain:+.1f} points)"
        items.append(f"<li><span>mIoU on {escaped(split)}</span> {text}</li>")
    return f'<ul class="lead">{"".join(items)}</ul>\n' if items else ""


def scores_by_split(scores: Named) -> Mapping[str, dict[str, Score]]:
    """Return the scores of each split by title of the result."""
    out: dict[str, dict[str, Score]] = {}
    for name, score in scores:
        out.setdefault(score.split, {})[name] = score
    return out


def _stages(entry: Entry[RunRecord], records: Records) -> str:
    run = entry.record
    if entry.progress is None:
        return stage_table(run, {})
    done = [records.has_artifact(s) for s in run.stages]
    states = {s.key: "waiting" for s, ended in zip(run.stages, done, strict=True) if not ended}
    if states and entry.status == "running":
        states[next(iter(states))] = "running"
    return stage_table(run, states)


def _trainings(run: RunRecord, records: Records) -> str:
    bodies = []
    for stage in run.stages:
        if stage.stage not in TRAINING_STAGES:
            continue
        try:
            rows = records.metrics(stage)
        except InputError as error:
            bodies.append(f'<p class="note">{escaped(error)}</p>\n')
            continue
        if rows:
            bodies.append(plot(training.training(stage.title, rows, run.name)))
    return "".join(bodies)


def _curves(scores: Named, run: RunRecord, artifacts: ArtifactCache) -> str:
    tables = list(scores_by_split(scores).values())
    figures = [threshold_curve(_seeds(rows), run.name) for rows in tables]
    figures += [per_class_iou(rows, run.name) for rows in tables]
    figures += [
        confusion(name, score, run.name)
        for name, score in (list(rows.items())[-1] for rows in tables)
        if score.confusion
    ]
    figures += [parts(rows, run.name) for rows in tables if any(s.parts for s in rows.values())]
    for split in scored_splits(run):
        counts = _counts(run, split, artifacts)
        if counts:
            first = next(s for _, s in scores if s.split == split)
            figures.append(training.reliability(counts, score_scope(first, run.name)))
    return plots(figures)


def _seeds(rows: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores of seeds; labels have no threshold to vary."""
    return {name: s for name, s in rows.items() if s.boundary is None}


def _counts(run: RunRecord, split: str, artifacts: ArtifactCache) -> dict[str, Counts]:
    """Return the pixel counts of `training.reliability` for class maps that have them stored."""
    id_of = {key_of[split]: id for id, key_of in run.maps.items() if split in key_of}
    counts = {}
    for stage in run.stages:
        if stage.stage != "scores":
            continue
        try:
            artifact = artifacts.open(stage.stage, stage.key)
            id = id_of.get(artifact.manifest["inputs"]["maps"])
            if id is None:
                continue
            curve = npz.read(artifact.file("counts.npz").local(), "curve")["curve"]
        except InputError:
            continue
        if curve.shape[2] == len(THRESHOLDS) + 1:
            counts[result_title(id)] = curve
    return counts


def _settings(run: RunRecord, artifacts: ArtifactCache) -> str:
    versions = [(text_cell(k), text_cell(v)) for k, v in sorted(run.versions.items())]
    settings = escaped(json.dumps(as_json(run.experiment), indent=1, ensure_ascii=False))
    facts = [("status", run.status), ("digest", run.digest[:16]), ("data set key", run.shards[:16])]
    return (
        definition_list(facts)
        + _left_out(run, artifacts)
        + "<details><summary>Versions</summary>"
        + table("Versions", ["package", "version"], versions)
        + "</details>\n<details><summary>Full configuration</summary>"
        + f'<pre tabindex="0"><code>{settings}</code></pre></details>\n'
    )


def _left_out(run: RunRecord, artifacts: ArtifactCache) -> str:
    """Return the list of images that the data set lacks and of labels that were not refined."""
    lines: list[str] = []
    labels = [(s.stage, s.key, s.title) for s in run.stages if s.stage == "labels"]
    for stage, key, title in (("shards", run.shards, "shards"), *labels):
        try:
            about = artifacts.open(stage, key).about
        except InputError:
            continue
        lines += [f"left out: {fault}" for fault in about.get("quarantined", [])]
        lines += [f"{title}: {id} was not refined" for id in about.get("unrefined", [])]
    if not lines:
        return "<p>No image was left out.</p>\n"
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<h3>Images left out or not refined: {len(lines)}</h3><ul>{items}</ul>\n"
