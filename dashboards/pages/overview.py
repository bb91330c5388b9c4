"""The overview: runs, sweeps, and what they reach beside what the papers report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...platform.records.schema import RunRecord, Score, SweepRecord
from ..content.gallery import pictured, splits
from ..content.records import Entry, Records
from ..labels import classes_of, label, many
from .layout import Page, Section, link, pill
from .papers import STAGES, leaderboard
from .tables import Cell, definitions, esc, moment, percent, seconds, table, word

PUBLISHED_SIZES = {
    (20, "train"): (1464, "VOC 2012"),
    (20, "val"): (1449, "VOC 2012"),
    (80, "val"): (40504, "COCO 2014"),
}
"""Images of the splits that the papers measure on, by classes and split."""


def overview(records: Records, papers: bool) -> Page:
    """The overview of what is shown of a store.

    Args:
        records: the runs and sweeps.
        papers: whether there is a page with the papers' tables to point to.
    """
    runs, sweeps = records.runs(), records.sweeps()
    sections = [Section(key="runs", title="Runs", body=_runs(runs))]
    if sweeps:
        sections.append(Section(key="sweeps", title="Sweeps", body=_sweeps(sweeps)))
    board = _board([e.record for e in runs.values()], papers)
    sections.append(Section(key="leaderboard", title="Leaderboard", body=board))
    records.speeds()  # notes which of them are damaged
    faults = records.faults
    if faults:
        sections.append(Section(key="faults", title="What is damaged", body=_faults(faults)))
    going = sum(e.status == "running" for of in (runs, sweeps) for e in of.values())
    facts = [
        ("runs", str(len(runs))),
        ("sweeps", str(len(sweeps))),
        ("running now", str(going)),
        ("damaged", str(len(faults) or "")),
        ("data sets", ", ".join(dict.fromkeys(e.record.dataset for e in runs.values()))),
    ]
    header = f"<h1>Runs and sweeps</h1>\n{definitions(facts)}"
    return Page(title="Overview", header=header, sections=sections, data=(("page", "index.html"),))


def _faults(faults: Mapping[tuple[str, str], str]) -> str:
    """What is damaged by name, each with a sentence."""
    items = (
        f"<li>{kind.removesuffix('s')} <strong>{esc(name)}</strong>: {esc(fault)}</li>"
        for (kind, name), fault in sorted(faults.items())
    )
    return f'<ul class="faults">{"".join(items)}</ul>\n'


def stages_of(run: RunRecord) -> dict[str, dict[str, Score]]:
    """The scores of a run by what they are of: seed, crf, refined, segmenter; then by split.

    Those of a baseline are left out: it has runs of its own.
    """
    out: dict[str, dict[str, Score]] = {}
    for id, of in run.scores.items():
        if id.baseline:
            continue
        if id.segmenter or (id in run.labels and not id.refinement):
            out["segmenter"] = of
        elif id.refinement:
            out[{"irn": "refined"}.get(id.refinement, id.refinement)] = of
        elif id == run.subject or "seed" not in out:
            out["seed"] = of
    return out


def _runs(runs: Mapping[str, Entry[RunRecord]]) -> str:
    kinds = ("seed", "crf", "refined", "segmenter")
    head = ["run", "status", "method", "data set", "split", "n", "classes"]
    head += [f"{k} mIoU %" for k in kinds] + ["random seed", "started", "seconds", "images"]
    rows = []
    for name, entry in runs.items():
        run = entry.record
        found, own = stages_of(run), splits(run)
        split = own[0] if own else ""
        score = next((of[split] for of in found.values() if split in of), None)
        shown = Cell(markup=link(f"run.{name}.html", name), value=name)
        gallery = link(f"images.{name}.html", "images") if pictured(run) else ""
        rows.append(
            [
                shown,
                Cell(markup=pill(entry.status), value=entry.status),
                word(label(run.method)),
                word(run.dataset),
                word(split or "–"),
                Cell(text=f"{score.n:,}", value=score.n) if score else word("–"),
                word(classes_of(score) if score else "–"),
                *(percent(_value(found.get(k, {}).get(split))) for k in kinds),
                Cell(text=str(run.seed), value=run.seed),
                moment(run.started),
                seconds(run.seconds),
                Cell(markup=gallery),
            ]
        )
    caption = (
        f"{many(len(rows), 'run')}; mIoU on the split that nothing was tuned on where there is "
        "one, by one confusion matrix at original resolution"
    )
    return table(caption, head, rows, sortable=True, empty="no run yet: wsss run METHOD")


def _value(score: Score | None) -> float | None:
    return score.value if score else None


def _sweeps(sweeps: Mapping[str, Entry[SweepRecord]]) -> str:
    head = ["sweep", "status", "method", "data set", "split", "parameters", "trials"]
    head += ["failed", "best mIoU %", "started", "seconds"]
    rows = []
    for name, entry in sweeps.items():
        sweep = entry.record
        best = next((t.value for t in sweep.trials if t.id == sweep.best), None)
        failed = sum(t.status == "failed" for t in sweep.trials)
        rows.append(
            [
                Cell(markup=link(f"sweep.{name}.html", name), value=name),
                Cell(markup=pill(entry.status), value=entry.status),
                word(label(sweep.method)),
                word(sweep.dataset),
                word(sweep.split),
                word(", ".join(sweep.labels[field] for field in sweep.space)),
                Cell(text=str(len(sweep.trials)), value=len(sweep.trials)),
                Cell(text=str(failed), value=failed),
                percent(best),
                moment(sweep.started),
                seconds(sweep.seconds),
            ]
        )
    caption = (
        f"{many(len(rows), 'sweep')}; best mIoU of the seed over its thresholds on the split named"
    )
    return table(caption, head, rows, sortable=True)


def _board(runs: Sequence[RunRecord], papers: bool) -> str:
    """The best run here of each method and data set, then the papers' figures."""
    rows = []
    for run in _best(runs):
        found = stages_of(run)
        tuned, held = splits(run)[-1], splits(run)[0]
        own = [found.get(k, {}).get(tuned) for k in ("seed", "crf", "refined")]
        end = found.get("segmenter", {}).get(held)
        cells = [percent(_value(score)) for score in (*own, end, None, None)]
        place = next((s for s in (*own, end) if s), None)
        shown = Cell(markup=f"{esc(label(run.method))}, here", value=label(run.method))
        source = Cell(markup=link(f"run.{run.name}.html", run.name), value=run.name)
        rows.append([shown, word("here"), *cells, _data_of(run, place), source])
    for line in leaderboard():
        cells = [percent(_fraction(line.figures.get(stage))) for stage in STAGES]
        data = Cell(markup='<span class="pill plain">VOC 2012, COCO 2014</span>', value="VOC")
        name = f"{label(line.method)} on {line.on}"
        rows.append([word(name), word("paper"), *cells, data, word(line.sources)])
    head = ["method", "whose", *STAGES.values(), "data", "source"]
    more = f" {link('papers.html', 'All tables of the papers')}." if papers else ""
    note = (
        '<p class="note">Figures are comparable only where the data are the same: rows marked '
        f"<em>other data</em> were measured on other images or classes than the papers&#39;.{more}"
        "</p>\n"
    )
    caption = (
        "Leaderboard: mIoU %; of runs here the best of each method and data set by its seed, on "
        "the splits of their own that stand for train and val"
    )
    return note + table(caption, head, rows, sortable=True)


def _fraction(value: float | None) -> float | None:
    return None if value is None else value / 100


def _best(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The run with the best seed of each method and data set."""
    found: dict[tuple[str, str], tuple[float, RunRecord]] = {}
    for run in runs:
        if not splits(run):
            continue
        score = next(iter(stages_of(run).values()), {}).get(splits(run)[-1])
        key, value = (run.method, run.dataset), score.value if score else 0.0
        if key not in found or found[key][0] < value:
            found[key] = (value, run)
    return [run for _, run in sorted(found.values(), key=lambda pair: -pair[0])]


def _data_of(run: RunRecord, score: Score | None) -> Cell:
    """What a run was measured on, marked where that is not what the papers measure on."""
    if score is None:
        return word("–")
    classes = len(score.classes) - 1
    images, name = PUBLISHED_SIZES.get((classes, score.split), (0, ""))
    if score.n == images and len(score.scored) == len(score.classes):
        text, kind = f"{run.dataset}: as many images and classes as {name}", "good"
    else:
        text = f"other data: {run.dataset}, {score.split} {score.n:,}, {classes_of(score)}"
        kind = "bad"
    return Cell(markup=f'<span class="pill {kind}">{esc(text)}</span>', value=text)
