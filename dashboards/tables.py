"""Tables of scores, trials and stages as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..platform.records.field_labels import short_text
from ..platform.records.schema import (
    FROM_OWN_BACKGROUND,
    PARTS,
    RunRecord,
    Score,
    StageRecord,
    SweepRecord,
    Trial,
)
from ..platform.serialization import parse_time
from ..platform.tuning.objectives import OBJECTIVES, pareto_front, standing
from .labels import classes_of, count_text, drawable, method_title, objectives_text


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Bar of a timeline; `start` and `width` are percentages of the whole timeline."""

    start: float
    width: float
    cached: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Cell of a table.

    Attributes:
        text: text of the cell.
        value: value to sort by; None: the text.
        strong: whether the cell is in bold.
        unbroken: whether the text stays on one line in any table.
        file: page that the text links to.
        pill: kind of the pill that holds the text: good, live, bad or plain.
        whole: whole value, of which the text is the beginning.
        bar: bar in place of the text.
    """

    text: str = ""
    value: float | str | None = None
    strong: bool = False
    unbroken: bool = False
    file: str = ""
    pill: str = ""
    whole: str = ""
    bar: Bar | None = None

    @property
    def is_number(self) -> bool:
        """Whether the cell sorts as a number."""
        return isinstance(self.value, float | int)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of a page.

    Attributes:
        caption: caption.
        head: names of the columns.
        rows: cells of each row; the first cell is the header of the row.
        sortable: whether the names of the columns are buttons that sort.
        cards: whether each row becomes a card on a screen that is too narrow for the columns.
        empty: text of a table without rows.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False
    cards: bool = False
    empty: str = "nothing"


def text_cell(text: object) -> Cell:
    """Return a cell of text."""
    return Cell(text=str(text))


def percent_cell(value: float | None, strong: bool = False) -> Cell:
    """Return a cell of a fraction in percent with one decimal, or a dash for None or NaN."""
    if value is None or not math.isfinite(value):
        return Cell(text="–", value=-1.0)
    return Cell(text=f"{100 * value:.1f}", value=value, strong=strong)


def seconds_cell(value: float) -> Cell:
    """Return a cell of a duration in seconds."""
    return Cell(text=f"{value:,.0f}" if value >= 100 else f"{value:.2f}", value=value)


def time_cell(started: str) -> Cell:
    """Return a cell of a time in its own time zone, which sorts as an instant."""
    text = started[:16].replace("T", " ")
    return Cell(text=text, value=parse_time(started).isoformat(), unbroken=True)


def summary_table(scores: Sequence[tuple[str, Score]]) -> Table:
    """Return the table of scores by split and result, with the best mIoU of a split in bold."""
    splits = list(dict.fromkeys(s.split for _, s in scores))
    has_parts = any(s.parts for _, s in scores)
    has_boundary = any(s.boundary is not None for _, s in scores)
    best = {
        split: max((s.value for _, s in scores if s.split == split), default=math.nan)
        for split in splits
    }
    head = ["split", "n", "result", "mIoU %", "precision %", "recall %", "FP %", "FN %"]
    head += [f"{p} part %" for p in PARTS] if has_parts else []
    head += ["boundary F %"] if has_boundary else []
    head += ["threshold", "threshold from"]
    rows = []
    for name, s in sorted(scores, key=lambda pair: splits.index(pair[1].split)):
        row = [text_cell(s.split), Cell(text=f"{s.n:,}", value=s.n), text_cell(name)]
        row.append(percent_cell(s.value, strong=s.value == best[s.split]))
        row += [
            percent_cell(v) for v in (s.precision, s.recall, s.false_positives, s.false_negatives)
        ]
        row += [percent_cell((s.parts or {}).get(p)) for p in PARTS] if has_parts else []
        row += [percent_cell(s.boundary)] if has_boundary else []
        threshold = "–" if s.threshold_from == FROM_OWN_BACKGROUND else f"{s.threshold:g}"
        row += [Cell(text=threshold, value=s.threshold), text_cell(s.threshold_from)]
        rows.append(row)
    rules = dict.fromkeys(f"{classes_of(s)} · {s.rule}" for _, s in scores)
    caption = " / ".join(["Scores", *rules]).replace(" / ", " · ", 1)
    return Table(caption=caption, head=head, rows=rows, empty="no scores: no split has masks")


def trial_table(sweep: SweepRecord) -> Table:
    """Return the table of all trials with parameters, results and errors."""
    labels = sweep.labels
    names = list(dict.fromkeys([*sweep.space, *(k for t in sweep.trials for k in t.params)]))
    seeds, words = len({t.seed for t in sweep.trials}) > 1, standing(sweep)
    head = [
        "trial",
        *(labels[name] for name in names),
        *(["random seed"] if seeds else []),
        "mIoU %",
        "threshold",
        "precision %",
        "recall %",
        "seconds",
        "status",
    ]
    failed = any(t.error for t in sweep.trials)
    head += ["error"] if failed else []
    rows = []
    for t in sweep.trials:
        row = [text_cell(t.id)]
        for name in names:
            value = t.params.get(name, "")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            row.append(Cell(text=short_text(value), value=drawable(value) if number else None))
        row += [Cell(text=str(t.seed), value=t.seed)] if seeds else []
        row += _result(t, words.get(t.id, ""))
        row += [text_cell(t.error or "")] if failed else []
        rows.append(row)
    caption = (
        f"{count_text(len(sweep.trials), 'trial')} of {method_title(sweep.method)} on "
        f"{sweep.dataset}; objective: {objectives_text(sweep)}"
    )
    return Table(caption=caption, head=head, rows=rows, sortable=True, empty="no trial yet")


def _result(trial: Trial, word: str) -> list[Cell]:
    s = trial.score
    status = f"{trial.status}, cached" if trial.cached else trial.status
    kind = "good" if word else ("bad" if trial.status in ("failed", "stopped") else "plain")
    text = f"{word}, {status}" if word else status
    return [
        percent_cell(trial.value, strong=bool(word)),
        Cell(text=f"{s.threshold:g}", value=s.threshold) if s else Cell(text="–", value=-1.0),
        percent_cell(s.precision if s else None),
        percent_cell(s.recall if s else None),
        seconds_cell(trial.seconds),
        Cell(text=text, value=text, pill=kind),
    ]


def front_table(sweep: SweepRecord) -> Table:
    """Return the table of the points that no other point beats, by the sweep's objectives."""
    labels = sweep.labels
    names = list(dict.fromkeys([*sweep.space, *(k for t in sweep.trials for k in t.params)]))
    head = [*(labels[name] for name in names), *(OBJECTIVES[n].title for n in sweep.objectives)]
    rows = []
    for trial, means in pareto_front(sweep.trials, sweep.objectives):
        cells = [text_cell(short_text(trial.params.get(name, ""))) for name in names]
        for name, mean in means.items():
            value = OBJECTIVES[name].scale * mean
            cells.append(Cell(text=f"{value:,.1f}", value=value))
        rows.append(cells)
    caption = f"{count_text(len(rows), 'point')} that no other point beats, on {sweep.split}"
    empty = "no point has all figures"
    return Table(caption=caption, head=head, rows=rows, sortable=True, empty=empty)


def stage_table(run: RunRecord, states: Mapping[str, str]) -> Table:
    """Return the table of a run's stages in order, with a bar for the time that each took.

    Args:
        run: the run.
        states: running or waiting, by key of each stage that has no artifact yet.
    """
    total = sum(s.seconds for s in run.stages if not s.cached) or 1.0
    rows, start = [], 0.0
    for s in run.stages:
        state = states.get(s.key, "cached" if s.cached else "computed")
        rows.append(_stage(s, _bar(s, start / total, total), state))
        start += 0.0 if s.cached else s.seconds
    head = ["stage", "title", "seconds", "timeline", "state", "key"]
    cached = sum(s.cached and s.key not in states for s in run.stages)
    rest = f", {len(states)} to do" if states else f"; the run took {run.seconds:,.1f} s"
    caption = f"{count_text(len(run.stages), 'stage')}, {cached} cached{rest}"
    return Table(caption=caption, head=head, rows=rows, empty="no stage was recorded")


def _stage(stage: StageRecord, bar: Bar, state: str) -> list[Cell]:
    kind = {"computed": "good", "running": "live"}.get(state, "plain")
    pill = Cell(text=state, value=state, pill=kind)
    key = Cell(text=stage.key[:10], whole=stage.key)
    duration = Cell(text="–") if state in ("running", "waiting") else seconds_cell(stage.seconds)
    return [text_cell(stage.stage), text_cell(stage.title), duration, Cell(bar=bar), pill, key]


def _bar(stage: StageRecord, start: float, total: float) -> Bar:
    width = 0.0 if stage.cached else 100 * stage.seconds / total
    return Bar(start=100 * start, width=max(width, 0.6), cached=stage.cached)
