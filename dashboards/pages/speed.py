"""Page of the speed of each stage over time, from the tables that `make bench` stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ...platform.records.schema import SpeedRecord, SpeedRow
from ..figures.style import COLOURS, DASHES, Figure, build_figure
from ..labels import count_text, plotly_text
from ..tables import Cell, Table, text_cell
from .layout import Header, Page, Section, facts_with_values


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Section of a machine: its newest table, and a figure of the history of several tables."""

    table: Table
    history: Figure | None


def speed_page(records: Sequence[SpeedRecord]) -> Page:
    """Return the page with the newest table of each machine and its ratios over time.

    Args:
        records: all tables, newest first.
    """
    sections = []
    for number, machine in enumerate(dict.fromkeys(r.machine for r in records)):
        tables = [r for r in records if r.machine == machine]
        content = Machine(
            table=_table(tables[0]), history=history(tables) if len(tables) > 1 else None
        )
        sections.append(Section(key=f"machine-{number}", title=machine, content=content))
    facts = facts_with_values([("tables", len(records)), ("machines", len(sections))])
    return Page(
        template="speed.html",
        title="Speed",
        header=Header(title="Speed", facts=facts),
        sections=sections,
    )


def _number(value: float | None, digits: int = 2) -> Cell:
    if value is None:
        return Cell(text="–", value=-1.0)
    return Cell(text=f"{value:,.{digits}f}", value=value)


def _table(record: SpeedRecord) -> Table:
    head = ["stage", "unit", "ours", "usual way", "ratio", "share of the limit", "limit"]
    rows = [
        [
            text_cell(row.stage),
            text_cell(row.unit),
            _number(row.ours),
            _number(row.peer),
            _number(ratio(row)),
            _number(row.limit),
            text_cell(row.bound or "–"),
        ]
        for row in record.rows
    ]
    if any(row.difference is not None for row in record.rows):
        head += ["GPU memory, GiB", "difference from the CPU", "allowed"]
        for cells, row in zip(rows, record.rows, strict=True):
            cells.append(_number(None if row.memory is None else row.memory / 2**30))
            cells += [_number(row.difference, 6), _number(row.allowed, 6)]
    caption = f"{record.started[:16].replace('T', ' ')}, {count_text(len(rows), 'stage')}"
    return Table(caption=caption, head=head, rows=rows, sortable=True)


def ratio(row: SpeedRow) -> float | None:
    """Return the speed of a stage divided by the speed of the usual way, if that was measured."""
    return row.ours / row.peer if row.peer else None


def _dash(number: int) -> str:
    """Return the dash of a line, which changes each time the colours start over."""
    return DASHES[(number + number // len(COLOURS)) % len(DASHES)]


def history(records: Sequence[SpeedRecord]) -> Figure:
    """Draw the speed ratio of each stage over time.

    Args:
        records: tables of one machine, newest first.
    """
    traces: list[object] = []
    stages = dict.fromkeys(row.stage for r in records for row in r.rows if row.peer)
    for k, stage in enumerate(stages):
        rows = [(r.start_time, row) for r in reversed(records) for row in r.rows]
        ratios = [(began, ratio(row)) for began, row in rows if row.stage == stage]
        traces.append(
            go.Scatter(
                x=[f"{began:%Y-%m-%d %H:%M:%S}" for began, _ in ratios],
                y=[value for _, value in ratios],
                mode="lines+markers",
                name=plotly_text(stage),
                line={"color": COLOURS[k % len(COLOURS)], "dash": _dash(k)},
            )
        )
    layout = {
        "height": 420,
        "xaxis": {"type": "date", "title": {"text": "time (UTC)", "standoff": 6}},
        "yaxis": {"title": {"text": "speed ratio", "standoff": 4}, "type": "log"},
    }
    about = f"{count_text(len(records), 'table')} · {records[0].machine}"
    return build_figure(traces, "Speed relative to the usual way", about, layout)
