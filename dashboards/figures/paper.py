"""Figure or table of a paper, with the results of a sweep beside the paper's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ...platform.records.schema import SweepRecord
from ...platform.tuning.ranking import Point, ranking
from ..labels import are_numbers, drawable, plotly_text, sweep_scope
from .style import COLOURS, DASHES, Figure, build_figure

if TYPE_CHECKING:
    from ...platform.tuning.spaces import FigureRow, PaperFigure

GAP = 0.06


def paper_figure(sweep: SweepRecord, figure: PaperFigure) -> Figure:
    """Draw the panels of a paper's figure with the sweep's points and the paper's numbers.

    Args:
        sweep: a sweep over the points of the figure.
        figure: entry of FIGURES in `tune_spaces`.
    """
    ranked, panels = ranking(sweep.trials), figure["panels"]
    traces: list[object] = []
    layout: dict[str, object] = {"meta": {"panels": len(panels)}, "height": 360}
    width = (1 - GAP * (len(panels) - 1)) / len(panels)
    for k, (title, rows) in enumerate(panels.items()):
        suffix, left = str(k + 1) if k else "", k * (width + GAP)
        category = {} if are_numbers([label for label, _, _ in rows]) else {"type": "category"}
        layout[f"xaxis{suffix}"] = {
            "title": {"text": plotly_text(title), "standoff": 6},
            "domain": [left, left + width],
            "anchor": f"y{suffix}",
            **category,
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "title": {"text": "" if k else "mIoU %", "standoff": 4},
            **({"matches": "y"} if k else {}),
        }
        traces += [_ours(rows, ranked, k, suffix), _printed(rows, k, suffix)]
    about = f"{sweep_scope(sweep)} · paper: {figure['published']}"
    return build_figure(traces, plotly_text(figure["title"]), about, layout)


def _ours(rows: Sequence[FigureRow], ranked: Sequence[Point], panel: int, suffix: str) -> object:
    """Return the means of the sweep's points, with their spreads."""
    points = []
    for label, changes, _ in rows:
        params = {field: drawable(value) for field, value in changes.items()}
        points += [(label, point) for point in ranked if point.trials[0].params == params]
    style = {"color": COLOURS[0], "dash": DASHES[0], "width": 2}
    return go.Scatter(
        x=[label for label, _ in points],
        y=[100 * point.mean for _, point in points],
        error_y={"type": "data", "array": [100 * point.spread for _, point in points]},
        mode="lines+markers",
        line=style,
        marker={"size": 8},
        name="here",
        legendgroup="here",
        showlegend=not panel,
        xaxis=f"x{suffix}",
        yaxis=f"y{suffix}",
    )


def _printed(rows: Sequence[FigureRow], panel: int, suffix: str) -> object:
    """Return the numbers that the paper prints; points without a number are left out."""
    printed = [(label, value) for label, _, value in rows if value is not None]
    style = {"color": COLOURS[1], "dash": DASHES[1], "width": 2}
    return go.Scatter(
        x=[label for label, _ in printed],
        y=[value for _, value in printed],
        mode="lines+markers",
        line=style,
        marker={"size": 9, "symbol": "diamond"},
        name="paper",
        legendgroup="paper",
        showlegend=not panel,
        xaxis=f"x{suffix}",
        yaxis=f"y{suffix}",
    )
