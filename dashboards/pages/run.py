"""Page of a run: its scores, stages, training, threshold and class figures, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...platform.data import npz
from ...platform.errors import InputError
from ...platform.metrics import THRESHOLDS
from ...platform.records.reduced_images import TOO_LARGE, reduced_sentences
from ...platform.records.result_id import ResultId
from ...platform.records.schema import RunRecord, Score
from ...platform.records.unscored import unscored_sentence
from ...platform.serialization import as_json
from ..content.artifact_cache import ArtifactCache
from ..content.gallery import (
    Gallery,
    results_by_stage,
    scored_splits,
    splits_with_images,
    splits_with_pictures,
)
from ..content.records import TRAINING_STAGES, Entry, Records
from ..content.scoring import SIZES, miou_by_size, size_bounds
from ..figures import training
from ..figures.scores import (
    SIZES_HEIGHT,
    SIZES_TITLE,
    confusion,
    iou_by_size,
    parts,
    per_class_iou,
    threshold_curve,
)
from ..figures.style import Figure
from ..figures.training import Counts
from ..labels import count_text, method_title, result_title, score_scope, sentence_text
from ..tables import Table, stage_table, summary_table, text_cell
from . import prototypes
from .layout import (
    FigureInFile,
    Going,
    Header,
    Link,
    Page,
    Section,
    facts_with_values,
    pill_unless_done,
)

Named = list[tuple[str, Score]]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The best mIoU of a run on one split.

    Attributes:
        split: name of the split.
        value: the mIoU, in percent.
        text: the result that has this mIoU, and how far it lies above an earlier result.
    """

    split: str
    value: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """Figure of a training, or a sentence that says why its metrics cannot be read."""

    figure: Figure | None = None
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Content of the section with the settings of a run.

    Attributes:
        facts: names with their values.
        left_out: lines about images that were left out, reduced or not refined.
        versions: versions of the packages.
        configuration: whole configuration as JSON.
    """

    facts: Sequence[tuple[str, str]]
    left_out: Sequence[str]
    versions: Table
    configuration: str


def titled_scores(run: RunRecord) -> Named:
    """Return (title, score) of all results of a run in pipeline order."""
    return [(result_title(id), s) for id in results_by_stage(run) for s in run.scores[id].values()]


def run_page(
    entry: Entry[RunRecord], records: Records, artifacts: ArtifactCache, others: bool
) -> Page:
    """Return the page of a run, finished or not.

    Args:
        entry: the run.
        records: reads the metrics of its trainings.
        artifacts: reads its artifacts; a figure whose artifact is missing is left out.
        others: whether the site has other runs to compare with.
    """
    run, scores = entry.record, titled_scores(entry.record)
    sections = []
    if scores:
        sections.append(Section(key="summary", title="Scores", content=summary_table(scores)))
    sections.append(Section(key="stages", title="Stages", content=_stages(entry, records)))
    trainings = _trainings(run, records)
    if trainings:
        sections.append(Section(key="training", title="Training", content=trainings))
    if scores:
        curves = _curves(scores, run, artifacts)
        sections.append(Section(key="curves", title="Thresholds and classes", content=curves))
    sections.append(Section(key="settings", title="Settings", content=_settings(run, artifacts)))
    return Page(
        template="run.html",
        title=run.name,
        header=_header(entry, scores, artifacts, others and bool(scores)),
        sections=sections,
        content={
            "fault": entry.fault,
            "gains": gains(run),
            "unscored": sentence_text(unscored_sentence(run)),
        },
        data=(("page", f"run.{run.name}.html"),),
    )


def _header(
    entry: Entry[RunRecord], scores: Named, artifacts: ArtifactCache, others: bool
) -> Header:
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
    links = []
    if splits_with_pictures(run):
        links.append(Link(file=f"images.{run.name}.html", text="Images"))
    if prototypes.class_maps_with_patches(run, artifacts):
        links.append(Link(file=f"prototypes.{run.name}.html", text="Prototypes"))
    if others:
        links.append(Link(file=f"compare.html?a={run.name}", text="Compare with another run"))
    return Header(
        title=run.name,
        state=pill_unless_done(entry.status),
        going=_going(entry),
        facts=facts_with_values(facts),
        links=links,
        command=run.command,
    )


def _going(entry: Entry[RunRecord]) -> Going | None:
    """Return the current step of an unfinished run."""
    p = entry.progress
    if p is None:
        return None
    title = p.titles[p.step - 1] if 0 < p.step <= len(p.titles) else "not started"
    details = ", ".join(t for t in (p.text, f"{p.done} of {p.total}" if p.total else "") if t)
    verb = "Now" if p.alive else "Stopped at"
    step = f"{verb}: step {p.step} of {len(p.titles)}, {title}"
    return Going(
        text=f"{step}: {details}" if details else step,
        share=p.done / p.total if p.total else 0.0,
        label="step progress",
    )


def gains(run: RunRecord) -> list[Gain]:
    """Return for each split the mIoU of the last result beside that of an earlier result."""
    by_split: dict[str, dict[ResultId, Score]] = {}
    for id in results_by_stage(run):
        for split, score in run.scores[id].items():
            by_split.setdefault(split, {})[id] = score
    out = []
    for split, scores in by_split.items():
        last = [*scores][-1]
        text, top = result_title(last), scores[last].value
        if other := _compared_with(last, [*scores]):
            base = scores[other].value
            text += f" against {100 * base:.1f} % {result_title(other)} "
            text += f"({100 * (top - base):+.1f} points)"
        out.append(Gain(split=split, value=f"{100 * top:.1f} %", text=text))
    return out


def _compared_with(last: ResultId, results: Sequence[ResultId]) -> ResultId | None:
    """Return the result beside which the last one is shown.

    It is the first one of the same run. Where there is a baseline, it is the baseline's result of
    the same kind: class maps know the image labels, and a segmenter does not.
    """
    kind = (last.refinement, last.segmenter)
    others = [id for id in results if id.baseline != last.baseline]
    alike = [id for id in others if (id.refinement, id.segmenter) == kind]
    own = [id for id in results if id.baseline == last.baseline]
    other = [*own[:1], *alike][-1]
    return other if other != last else None


def scores_by_split(scores: Named) -> Mapping[str, dict[str, Score]]:
    """Return the scores of each split by title of the result."""
    out: dict[str, dict[str, Score]] = {}
    for name, score in scores:
        out.setdefault(score.split, {})[name] = score
    return out


def _stages(entry: Entry[RunRecord], records: Records) -> Table:
    run = entry.record
    if entry.progress is None:
        return stage_table(run, {})
    done = [records.has_artifact(s) for s in run.stages]
    states = {s.key: "waiting" for s, ended in zip(run.stages, done, strict=True) if not ended}
    if states and entry.status == "running":
        states[next(iter(states))] = "running"
    return stage_table(run, states)


def _trainings(run: RunRecord, records: Records) -> list[Training]:
    trainings = []
    for stage in run.stages:
        if stage.stage not in TRAINING_STAGES:
            continue
        try:
            rows = records.metrics(stage)
        except InputError as error:
            trainings.append(Training(fault=str(error)))
            continue
        if rows:
            figure = training.training(stage.title, rows, run.name)
            trainings.append(Training(figure=figure))
    return trainings


def _curves(
    scores: Named, run: RunRecord, artifacts: ArtifactCache
) -> list[list[Figure | FigureInFile]]:
    """Return groups of figures: by threshold, by class and by size of each split, and others."""
    by_split = scores_by_split(scores)
    tables = list(by_split.values())
    with_images = splits_with_images(run, artifacts)
    by_class: list[Figure | FigureInFile] = []
    for split, rows in by_split.items():
        by_class.append(per_class_iou(rows, run.name))
        if split in with_images:
            by_class.append(_sizes(run, split))
    others: list[Figure | FigureInFile] = [
        confusion(name, score, run.name)
        for name, score in (list(rows.items())[-1] for rows in tables)
        if score.confusion
    ]
    others += [parts(rows, run.name) for rows in tables if any(s.parts for s in rows.values())]
    for split in scored_splits(run):
        counts = _counts(run, split, artifacts)
        if counts:
            first = next(s for _, s in scores if s.split == split)
            others.append(training.reliability(counts, score_scope(first, run.name)))
    by_threshold: list[Figure | FigureInFile] = [
        threshold_curve(seeds, run.name) for rows in tables if (seeds := _seeds(rows))
    ]
    return [by_threshold, by_class, others]


def _sizes(run: RunRecord, split: str) -> FigureInFile:
    name = f"{run.name}/{split}"
    return FigureInFile(
        file=f"data/{name}/sizes.js", name=name, title=SIZES_TITLE, height=SIZES_HEIGHT
    )


def size_figure(images: Gallery) -> Figure:
    """Return the figure of the mean IoU by size of object, with the bounds of the sizes."""
    run, split = images.run, images.split
    scored = run.scores[images.sources[0].id][split].scored
    scores = {result_title(s.id): images.all_scores(s) for s in images.sources}
    first = next(iter(scores.values()))  # the objects are the same for each result
    bounds = size_bounds(first, scored)
    by_size = {title: miou_by_size(rows, scored, bounds) for title, rows in scores.items()}
    low, high = (f"{100 * bound:.2g} %" for bound in bounds)
    numbers = {size: score.objects for size, score in next(iter(by_size.values())).items()}
    lines = {
        size: (text, count_text(numbers[size], "object"))
        for size, text in zip(
            SIZES, (f"below {low}", f"{low} to {high}", f"from {high}"), strict=True
        )
    }
    scope = (
        f"{split} · {len(first):,} images · an object is all pixels of a class in an image · sizes "
        f"are thirds of the objects by their share of the image · background left out · {run.name}"
    )
    values = {title: [by[size].miou for size in SIZES] for title, by in by_size.items()}
    return iou_by_size(values, lines, scope)


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
            id = id_of.get(artifact.manifest["inputs"].get("maps"))
            if id is None:
                continue
            curve = npz.read(artifact.file("counts.npz").local(), "curve")["curve"]
        except InputError:
            continue
        if curve.shape[2] == len(THRESHOLDS) + 1:
            counts[result_title(id)] = curve
    return counts


def _settings(run: RunRecord, artifacts: ArtifactCache) -> Settings:
    versions = [(text_cell(k), text_cell(v)) for k, v in sorted(run.versions.items())]
    facts = [("status", run.status), ("digest", run.digest[:16]), ("data set key", run.shards[:16])]
    facts += [("weights", note) for note in run.notes]
    return Settings(
        facts=facts_with_values(facts),
        left_out=_left_out(run, artifacts),
        versions=Table(caption="Versions", head=["package", "version"], rows=versions),
        configuration=json.dumps(as_json(run.experiment), indent=1, ensure_ascii=False),
    )


def _left_out(run: RunRecord, artifacts: ArtifactCache) -> list[str]:
    """Return lines on images that the data set lacks, or that were reduced or not refined."""
    lines: list[str] = []
    stages = [(s.stage, s.key, s.title) for s in run.stages if s.stage in ("maps", "labels")]
    for stage, key, title in (("shards", run.shards, "shards"), *stages):
        try:
            about = artifacts.open(stage, key).about
        except InputError:
            continue
        lines += [f"left out: {fault}" for fault in about.get("quarantined", [])]
        unrefined = [*about.get("unrefined", []), *about.get(TOO_LARGE, [])]
        lines += [f"{title}: {id} was not refined" for id in unrefined]
        lines += [f"{title}: {text}" for text in reduced_sentences(about)]
    return lines
