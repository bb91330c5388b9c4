"""Overview page: runs, sweeps, and a leaderboard of their scores beside the papers' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...platform.data.check.findings import findings
from ...platform.errors import InputError
from ...platform.records.comparability import data_key, known_digests, scoring_key
from ...platform.records.schema import RunRecord, Score, SweepRecord
from ..content.artifact_cache import ArtifactCache
from ..content.gallery import scored_splits, splits_with_images, splits_with_pictures
from ..content.records import Entry, Records
from ..labels import classes_of, count_text, method_title
from ..tables import Cell, Table, percent_cell, seconds_cell, text_cell, time_cell
from .layout import Header, Page, Section, facts_with_values, status_pill
from .papers import STAGES, leaderboard

PUBLISHED_SIZES = {
    (20, "train"): (1464, "VOC 2012"),
    (20, "val"): (1449, "VOC 2012"),
    (80, "val"): (40504, "COCO 2014"),
}
"""Number of images and data set of the papers' splits, by (number of foreground classes, split)."""


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
    boards = _boards([e.record for e in runs.values()])
    sections.append(Section(key="leaderboard", title="Leaderboard", content=boards))
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


def stages_of(run: RunRecord) -> dict[str, dict[str, Score]]:
    """Return the scores of a run by stage (seed, crf, refined, segmenter) and split.

    Scores of the run's baseline are left out, because the baseline has runs of its own.
    """
    out: dict[str, dict[str, Score]] = {}
    for id, by_split in run.scores.items():
        if id.baseline:
            continue
        if id.segmenter or (id in run.labels and not id.refinement):
            out["segmenter"] = by_split
        elif id.refinement:
            out["crf" if id.refinement == "crf" else "refined"] = by_split
        elif id == run.subject or "seed" not in out:
            out["seed"] = by_split
    return out


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
        score = next((scores[split] for scores in by_stage.values() if split in scores), None)
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
                *(percent_cell(_value(by_stage.get(k, {}).get(split))) for k in kinds),
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


def _value(score: Score | None) -> float | None:
    return score.value if score else None


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


def _boards(runs: Sequence[RunRecord]) -> list[Table]:
    """Return the leaderboards: one for the runs on the same data, and one for the papers.

    The rows of the papers stand among those of a data set with the papers' images and classes.
    """
    tables, published = [], _published()
    has_papers = False
    for group in _groups(runs):
        rows = [_row_of_run(run) for run in _best(group)]
        of_papers = any(cell.pill == "good" for row in rows for cell in row)
        has_papers = has_papers or of_papers
        caption = (
            f"Leaderboard on {_data_sets(group)}: mIoU %; for each method, the run whose seed "
            "masks have the highest mIoU, with its tuning split as train and its held-out "
            "split as val"
        )
        tables.append(_board(caption, [*rows, *(published if of_papers else [])]))
    if not has_papers:
        tables.append(_board("Leaderboard of the papers: mIoU %", published))
    return tables


def _board(caption: str, rows: Sequence[Sequence[Cell]]) -> Table:
    head = ["method", "measured by", *STAGES.values(), "data", "source"]
    return Table(caption=caption, head=head, rows=rows, sortable=True, cards=True)


def _row_of_run(run: RunRecord) -> list[Cell]:
    by_stage = stages_of(run)
    tuned, held_out = scored_splits(run)[-1], scored_splits(run)[0]
    scores = [by_stage.get(k, {}).get(tuned) for k in ("seed", "crf", "refined")]
    scores.append(by_stage.get("segmenter", {}).get(held_out))
    cells = [percent_cell(_value(score)) for score in (*scores, None, None)]
    first = next((s for s in scores if s), None)
    method = method_title(run.method)
    title = Cell(text=f"{method}, this store", value=method)
    source = Cell(text=run.name, value=run.name, file=f"run.{run.name}.html")
    return [title, text_cell("this store"), *cells, _data_of(run, first), source]


def _published() -> list[list[Cell]]:
    """Return the rows of the papers."""
    rows = []
    for line in leaderboard():
        cells = [percent_cell(_fraction(line.figures.get(stage))) for stage in STAGES]
        data = Cell(text="VOC 2012, COCO 2014", value="VOC", pill="plain")
        name = f"{method_title(line.method)} on {line.builds_on}"
        rows.append([text_cell(name), text_cell("paper"), *cells, data, text_cell(line.sources)])
    return rows


def _groups(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return runs that were scored on the same data and classes, in groups; the best one first."""
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    known = known_digests(runs)
    for run in sorted(runs, key=_seed_score, reverse=True):
        scores = _first_scores(run)
        key = [
            (split, data_key(run, split, known), split in scores and scoring_key(scores[split]))
            for split in scored_splits(run)
        ]
        if key:
            groups.setdefault(tuple(key), []).append(run)
    return [*groups.values()]


def _first_scores(run: RunRecord) -> Mapping[str, Score]:
    return next(iter(stages_of(run).values()), {})


def _seed_score(run: RunRecord) -> float:
    """Return the mIoU of a run's first result on its tuning split."""
    splits = scored_splits(run)
    score = _first_scores(run).get(splits[-1]) if splits else None
    return score.value if score else 0.0


def _data_sets(runs: Sequence[RunRecord]) -> str:
    """Return the names of the data sets of comparable runs, and the digests of their splits."""
    names = ", ".join(dict.fromkeys(run.dataset for run in runs))
    digests = next((run.digests for run in runs if run.digests), {})
    texts = [f"{split} {digests[split]['ids'][:12]}" for split in sorted(digests)]
    return names + (f" (lists: {', '.join(texts)})" if texts else "")


def _fraction(value: float | None) -> float | None:
    return None if value is None else value / 100


def _best(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return, for each method, the run whose seed masks have the highest mIoU, best first."""
    best: dict[str, RunRecord] = {}
    for run in sorted(runs, key=_seed_score, reverse=True):
        best.setdefault(run.method, run)
    return [*best.values()]


def _data_of(run: RunRecord, score: Score | None) -> Cell:
    """Return a cell with the data that a run was scored on, marked where the papers use others."""
    if score is None:
        return text_cell("–")
    classes = len(score.classes) - 1
    images, name = PUBLISHED_SIZES.get((classes, score.split), (0, ""))
    if score.n == images and len(score.scored) == len(score.classes):
        text, kind = f"{run.dataset}: as many images and classes as {name}", "good"
    else:
        text = f"other data: {run.dataset}, {score.split} {score.n:,}, {classes_of(score)}"
        kind = "bad"
    return Cell(text=text, value=text, pill=kind)
