"""Overview page: runs, sweeps, data sets and leaderboards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...platform.data.check.findings import findings
from ...platform.errors import InputError
from ...platform.records.result_id import ResultId
from ...platform.records.schema import RunRecord, Score, SweepRecord
from ..content.artifact_cache import ArtifactCache
from ..content.gallery import scored_splits, splits_with_images, splits_with_pictures
from ..content.records import Entry, Records
from ..labels import classes_of, count_text, method_title
from ..leaderboard import boards, stages_of, told
from ..tables import Cell, Table, percent_cell, seconds_cell, text_cell, time_cell
from .layout import Header, Page, Section, facts_with_values, status_pill


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Damaged record: `kind` is run, sweep or speed, and `sentence` says what is wrong."""

    kind: str
    name: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """Run with an example image: its name, its method, and its data set."""

    run: str
    method: str
    dataset: str


def overview(records: Records, artifacts: ArtifactCache) -> Page:
    """Return the overview page.

    Args:
        records: the runs and sweeps.
        artifacts: tells which runs have images.
    """
    runs, sweeps = records.runs(), records.sweeps()
    sections = [Section(key="runs", title="Runs", content=_runs(runs))]
    pictures = [
        Pictured(run=name, method=method_title(e.record.method), dataset=e.record.dataset)
        for name, e in runs.items()
        if splits_with_images(e.record, artifacts)
    ]
    if pictures:
        sections.append(Section(key="pictures", title="Pictures", content=pictures))
    if sweeps:
        sections.append(Section(key="sweeps", title="Sweeps", content=_sweeps(sweeps)))
    if datasets := records.datasets():
        content = _datasets(datasets, artifacts)
        sections.append(Section(key="datasets", title="Data sets", content=content))
    tables = boards([e.record for e in runs.values()])
    sections.append(Section(key="leaderboard", title="Leaderboard", content=tables))
    records.speeds()  # updates their faults
    faults = [
        Fault(kind=kind.removesuffix("s"), name=name, sentence=sentence)
        for (kind, name), sentence in sorted(records.faults.items())
    ]
    if faults:
        sections.append(Section(key="faults", title="Damaged records", content=faults))
    running = sum(e.status == "running" for kind in (runs, sweeps) for e in kind.values())
    facts = [
        ("runs", len(runs)),
        ("sweeps", len(sweeps)),
        ("running now", running),
        ("damaged", len(faults) or ""),
        ("data sets", ", ".join(dict.fromkeys(e.record.dataset for e in runs.values()))),
    ]
    return Page(
        template="overview.html",
        title="Overview",
        header=Header(title="Runs and sweeps", facts=facts_with_values(facts)),
        sections=sections,
        data=(("page", "index.html"),),
    )


def _runs(runs: Mapping[str, Entry[RunRecord]]) -> Table:
    kinds = ("seed", "crf", "refined", "segmenter")
    head = ["run", "status", "method", "data set", "split", "images scored", "classes"]
    head += [f"{name} mIoU %" for name in ("seed", "CRF", "refined", "segmenter")]
    head += ["random seed", "started", "seconds", "images"]
    rows = []
    for name, entry in runs.items():
        run = entry.record
        by_stage, names = stages_of(run), scored_splits(run)
        split = names[0] if names else ""
        unscored = f"{', '.join(run.unscored)} (not scored)" if run.unscored else "–"
        scores = {stage: run.scores[id].get(split) for stage, id in by_stage.items()}
        score = next(filter(None, scores.values()), None)
        title = Cell(text=name, value=name, file=f"run.{name}.html")
        images = Cell(text="images", file=f"images.{name}.html")
        rows.append(
            [
                title,
                _status(entry.status),
                text_cell(method_title(run.method)),
                text_cell(run.dataset),
                text_cell(split or unscored),
                Cell(text=f"{score.n:,}", value=score.n) if score else text_cell("–"),
                text_cell(classes_of(score) if score else "–"),
                *(_score_cell(scores.get(k), by_stage.get(k)) for k in kinds),
                Cell(text=str(run.seed), value=run.seed),
                time_cell(run.started),
                seconds_cell(run.seconds),
                images if splits_with_pictures(run) else Cell(),
            ]
        )
    caption = (
        f"{count_text(len(rows), 'run')}; mIoU from one confusion matrix at original resolution, "
        "on a split that was not used for tuning if the run has one"
    )
    empty = "no run yet; start with: wsss run METHOD"
    return Table(caption=caption, head=head, rows=rows, sortable=True, cards=True, empty=empty)


def _status(status: str) -> Cell:
    pill = status_pill(status)
    return Cell(text=pill.text, value=pill.text, pill=pill.kind)


def _score_cell(score: Score | None, id: ResultId | None) -> Cell:
    """Return the cell of a result's mIoU, with the words of `told`."""
    cell = percent_cell(score.value if score else None)
    words = told(id) if score and id else ""
    return replace(cell, text=f"{cell.text} ({words})") if words else cell


def _sweeps(sweeps: Mapping[str, Entry[SweepRecord]]) -> Table:
    head = ["sweep", "status", "method", "data set", "split", "parameters", "trials"]
    head += ["failed", "mIoU % of the chosen trial", "started", "seconds"]
    rows = []
    for name, entry in sweeps.items():
        sweep = entry.record
        chosen = next((t.value for t in sweep.trials if t.id == sweep.best), None)
        failed = sum(t.status == "failed" for t in sweep.trials)
        rows.append(
            [
                Cell(text=name, value=name, file=f"sweep.{name}.html"),
                _status(entry.status),
                text_cell(method_title(sweep.method)),
                text_cell(sweep.dataset),
                text_cell(sweep.split),
                text_cell(", ".join(sweep.labels[field] for field in sweep.space)),
                Cell(text=str(len(sweep.trials)), value=len(sweep.trials)),
                Cell(text=str(failed), value=failed),
                percent_cell(chosen),
                time_cell(sweep.started),
                seconds_cell(sweep.seconds),
            ]
        )
    caption = (
        f"{count_text(len(rows), 'sweep')}; the chosen trial is the first one of the best point by "
        "the sweep's rule"
    )
    return Table(caption=caption, head=head, rows=rows, sortable=True, cards=True)


def _datasets(keys: Mapping[str, str], artifacts: ArtifactCache) -> Table:
    """Return the table of data sets, each with a link to its page."""
    rows = []
    for name, key in keys.items():
        try:
            about, check = artifacts.open("shards", key).about, artifacts.check(key)
        except InputError as error:  # the shards were deleted or are damaged
            rows.append([text_cell(name), *[text_cell("–")] * 3, text_cell(str(error))])
            continue
        counts = ", ".join(f"{split} {n:,}" for split, n in about["counts"].items())
        number = len(findings(check)) if check else 0
        rows.append(
            [
                Cell(text=name, value=name, file=f"dataset.{name}.html"),
                text_cell(about["source"]),
                text_cell(counts),
                Cell(text=str(len(about["classes"])), value=len(about["classes"])),
                text_cell(count_text(number, "finding") if check else "not checked"),
            ]
        )
    head = ["data set", "kind", "images", "classes", "check"]
    caption = f"{count_text(len(rows), 'data set')}; a page with the check, counts and images"
    return Table(caption=caption, head=head, rows=rows, sortable=True, cards=True)
