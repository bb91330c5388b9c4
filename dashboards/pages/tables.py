"""Tables and lists of facts as HTML with escaped texts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...platform.records.schema import (
    FROM_OWN_BACKGROUND,
    PARTS,
    RunRecord,
    Score,
    StageRecord,
    SweepRecord,
    Trial,
)
from ...platform.serialization import parse_time
from ..labels import classes_of, count_text, drawable, method_title


def escaped(value: object) -> str:
    """Return text escaped for HTML and for attribute values."""
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in str(value))
    return html.escape(printable)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Cell of a table.

    Attributes:
        text: text of the cell.
        value: value to sort by; None: the text.
        markup: trusted HTML in place of the text.
        strong: whether the cell is in bold.
    """

    text: str = ""
    value: float | str | None = None
    markup: str = ""
    strong: bool = False

    def render(self, head: bool = False) -> str:
        """Return the cell as `<td>`, or with `head` as `<th scope=row>`."""
        sort = "" if self.value is None else f' data-v="{escaped(self.value)}"'
        number = ' class="number"' if isinstance(self.value, float | int) else ""
        body = self.markup or escaped(self.text)
        body = f"<strong>{body}</strong>" if self.strong else body
        tag, extra = ("th", ' scope="row"') if head else ("td", "")
        return f"<{tag}{extra}{number}{sort}>{body}</{tag}>"


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
    return Cell(text=text, value=parse_time(started).isoformat())


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    sortable: bool = False,
    empty: str = "nothing",
) -> str:
    """Return a table in a box that scrolls and can be reached by keyboard.

    Args:
        caption: caption as text.
        head: column names as text.
        rows: cells of each row; the first cell is the header of the row.
        sortable: whether column names are buttons that sort.
        empty: text of a table without rows.
    """
    lines = []
    for row in rows:
        cells = [c.render(head=k == 0) for k, c in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    if not lines:
        lines = [f'<tr><td colspan="{len(head)}" class="empty">{escaped(empty)}</td></tr>']
    names = [
        f'<button type="button">{escaped(h)}</button>' if sortable else escaped(h) for h in head
    ]
    top = "".join(f'<th scope="col">{n}</th>' for n in names)
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}">'
        f"<table{kind}><caption><span>{escaped(caption)}</span></caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def definition_list(rows: Iterable[tuple[str, object]]) -> str:
    """Return names with their values as HTML; a name without a value is left out."""
    facts = [(k, v) for k, v in rows if v not in ("", None)]
    items = "".join(f"<div><dt>{escaped(k)}</dt><dd>{escaped(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>\n'


def summary_table(scores: Sequence[tuple[str, Score]]) -> str:
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
    return table(caption, head, rows, empty="no scores: no split has masks")


def trial_table(sweep: SweepRecord) -> str:
    """Return the table of all trials with parameters, results and errors."""
    labels = sweep.labels
    names = list(dict.fromkeys([*sweep.space, *(k for t in sweep.trials for k in t.params)]))
    seeds = len({t.seed for t in sweep.trials}) > 1
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
            row.append(Cell(text=str(value), value=drawable(value) if number else None))
        row += [Cell(text=str(t.seed), value=t.seed)] if seeds else []
        row += _result(t, sweep.best == t.id)
        row += [text_cell(t.error or "")] if failed else []
        rows.append(row)
    caption = (
        f"{count_text(len(sweep.trials), 'trial')} of {method_title(sweep.method)} on "
        f"{sweep.dataset}; objective: best mIoU of the seed over all thresholds on {sweep.split}"
    )
    return table(caption, head, rows, sortable=True, empty="no trial yet")


def _result(trial: Trial, best: bool) -> list[Cell]:
    s = trial.score
    status = f"{trial.status}, cached" if trial.cached else trial.status
    kind = "good" if best else ("bad" if trial.status in ("failed", "stopped") else "plain")
    text = f"best, {status}" if best else status
    pill = f'<span class="pill {kind}">{escaped(text)}</span>'
    return [
        percent_cell(trial.value, strong=best),
        Cell(text=f"{s.threshold:g}", value=s.threshold) if s else Cell(text="–", value=-1.0),
        percent_cell(s.precision if s else None),
        percent_cell(s.recall if s else None),
        seconds_cell(trial.seconds),
        Cell(value=text, markup=pill),
    ]


def stage_table(run: RunRecord, states: Mapping[str, str]) -> str:
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
    return table(caption, head, rows, empty="no stage was recorded")


def _stage(stage: StageRecord, bar: str, state: str) -> list[Cell]:
    kind = {"computed": "good", "running": "live"}.get(state, "plain")
    pill = Cell(markup=f'<span class="pill {kind}">{state}</span>', value=state)
    key = Cell(markup=f'<code title="{escaped(stage.key)}">{escaped(stage.key[:10])}</code>')
    duration = Cell(text="–") if state in ("running", "waiting") else seconds_cell(stage.seconds)
    return [text_cell(stage.stage), text_cell(stage.title), duration, Cell(markup=bar), pill, key]


def _bar(stage: StageRecord, start: float, total: float) -> str:
    width = 0.0 if stage.cached else 100 * stage.seconds / total
    cached = ' class="cached"' if stage.cached else ""
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{100 * start:.2f}" y="0" width="{max(width, 0.6):.2f}" height="8"'
        f"{cached}/></svg>"
    )
