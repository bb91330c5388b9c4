"""The speed of the stages over time: what `make bench` left in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ...platform.records.schema import SpeedRecord, SpeedRow
from ..figures.style import COLOURS, DASHES, Figure, build
from ..labels import many, text_of
from .layout import Page, Section, plot
from .tables import Cell, definitions, table, word


def speed_page(records: Sequence[SpeedRecord]) -> Page:
    """The newest table of each machine, and how its ratios went.

    Args:
        records: newest first.
    """
    sections = []
    for number, machine in enumerate(dict.fromkeys(r.machine for r in records)):
        own = [r for r in records if r.machine == machine]
        body = _table(own[0]) + (plot(history(own)) if len(own) > 1 else "")
        sections.append(Section(key=f"machine-{number}", title=machine, body=body))
    header = (
        "<h1>Speed</h1>\n<p class='note'>Each stage beside the way that it is usually run, stated "
        "again in plain PyTorch and measured in the same run: <code>make bench</code>.</p>\n"
        + definitions([("tables", str(len(records))), ("machines", str(len(sections)))])
    )
    return Page(title="Speed", header=header, sections=sections)


def _number(value: float | None, digits: int = 2) -> Cell:
    if value is None:
        return Cell(text="–", value=-1.0)
    return Cell(text=f"{value:,.{digits}f}", value=value)


def _table(record: SpeedRecord) -> str:
    head = ["stage", "unit", "ours", "usual way", "ratio", "share of the limit", "limit"]
    rows = [
        [
            word(row.stage),
            word(row.unit),
            _number(row.ours),
            _number(row.peer),
            _number(ratio(row)),
            _number(row.limit),
            word(row.bound or "–"),
        ]
        for row in record.rows
    ]
    caption = f"{record.started[:16].replace('T', ' ')}, {many(len(rows), 'stage')}"
    return table(caption, head, rows, sortable=True)


def ratio(row: SpeedRow) -> float | None:
    """How many times as fast as the usual way."""
    return row.ours / row.peer if row.peer else None


def _dash(number: int) -> str:
    """Another one where colours begin again."""
    return DASHES[(number + number // len(COLOURS)) % len(DASHES)]


def history(records: Sequence[SpeedRecord]) -> Figure:
    """The ratio of each stage over time, on one machine.

    Args:
        records: newest first.
    """
    traces: list[Any] = []
    stages = dict.fromkeys(row.stage for r in records for row in r.rows if row.peer)
    for k, stage in enumerate(stages):
        rows = [(r.began, row) for r in reversed(records) for row in r.rows]
        found = [(began, ratio(row)) for began, row in rows if row.stage == stage]
        traces.append(
            go.Scatter(
                x=[f"{began:%Y-%m-%d %H:%M:%S}" for began, _ in found],
                y=[value for _, value in found],
                mode="lines+markers",
                name=text_of(stage),
                line={"color": COLOURS[k % len(COLOURS)], "dash": _dash(k)},
            )
        )
    layout = {
        "height": 420,
        "xaxis": {"type": "date", "title": {"text": "UTC", "standoff": 6}},
        "yaxis": {"title": {"text": "times the usual way", "standoff": 4}, "type": "log"},
    }
    about = f"{many(len(records), 'table')} · {records[0].machine}"
    return build(traces, "Ratio to the usual way", about, layout)
