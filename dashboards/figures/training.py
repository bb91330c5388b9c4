"""Figures of a training's losses and learning rate, and of the reliability of class maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ...platform.metrics import THRESHOLDS
from ..labels import plotly_text
from .style import COLOURS, DASHES, NEUTRAL, Figure, build_figure

if TYPE_CHECKING:
    from plotly.basedatatypes import BasePlotlyType

MOST_POINTS = 240
"""Most points of a curve; longer curves are averaged over groups of steps."""
NOT_TERMS = ("epoch", "step", "steps", "loss", "lr")
Counts = NDArray[np.int64]


def training(title: str, rows: Sequence[Mapping[str, float]], owner: str) -> Figure:
    """Draw the loss terms of a training by step, and its learning rate beside them.

    Args:
        title: title of the stage.
        rows: a row for each step: the terms, `loss` (their sum), `lr`, `step`, `steps`, `epoch`.
        owner: name of the run.
    """
    name = plotly_text(f"Training: {title}")
    if not rows:
        return build_figure([], name, f"no step yet · {owner}", {}, "No step yet")
    last = rows[-1]
    steps = np.array([row["step"] + 1 for row in rows], np.float64)
    terms = [k for k in rows[0] if k not in NOT_TERMS]
    curves = ["loss", *(terms if len(terms) > 1 else [])]
    traces: list[object] = []
    for k, term in enumerate(curves):
        colour, dash = COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)]
        label = "total loss" if term == "loss" and len(curves) > 1 else term
        traces.append(_line(steps, rows, term, label, color=colour, dash=dash, width=2))
    rate = _line(steps, rows, "lr", "learning rate", color=NEUTRAL, width=2)
    rate.update(xaxis="x2", yaxis="y2", showlegend=False)
    axis = {"title": {"text": "step", "standoff": 6}, "range": [0, last["steps"]]}
    layout = {
        "meta": {"panels": 2},
        "height": 330,
        "xaxis": {**axis, "anchor": "y"},
        "xaxis2": {**axis, "anchor": "y2"},
        "yaxis": {"title": {"text": "loss", "standoff": 4}, "rangemode": "tozero"},
        "yaxis2": {
            "title": {"text": "learning rate", "standoff": 4},
            "rangemode": "tozero",
            "anchor": "x2",
        },
    }
    group = -(-len(rows) // MOST_POINTS)
    mean = f"mean of {group} steps" if group > 1 else "every step"
    text = f"step {last['step'] + 1:,} of {last['steps']:,} · epoch {last['epoch'] + 1} · {mean}"
    return build_figure([*traces, rate], name, f"{text} · {owner}", layout)


def _line(
    steps: NDArray[np.float64],
    rows: Sequence[Mapping[str, float]],
    key: str,
    name: str,
    **line: object,
) -> BasePlotlyType:
    values = np.array([row.get(key, np.nan) for row in rows], np.float64)
    group = -(-len(rows) // MOST_POINTS)
    starts = range(0, len(rows), group)
    x = np.array([steps[k : k + group].mean() for k in starts], np.float32)
    y = np.array([values[k : k + group].mean() for k in starts], np.float32)
    return go.Scatter(x=x, y=y, mode="lines", line=line, name=plotly_text(name))


def reliability(counts: Mapping[str, Counts], scope: str) -> Figure:
    """Draw how often the best class of a pixel is correct, by its score.

    Args:
        counts: for each class maps by name, pixel counts `[C,C,T+1]` by target class, best class
            and number of THRESHOLDS below the score.
        scope: `labels.score_scope` of the scores.
    """
    traces: list[object] = [
        go.Scatter(
            x=[0, 1],
            y=[0, 100],
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot", "width": 1},
            hoverinfo="skip",
            name="perfect calibration",
        )
    ]
    for k, (name, table) in enumerate(counts.items()):
        correct = np.einsum("iit->t", table)
        total = table.sum((0, 1))
        x, y, texts = [], [], []
        for low in range(0, len(THRESHOLDS), 10):
            inside = slice(low + 1, low + 11)
            pixels = int(total[inside].sum())
            if pixels:
                x.append(low / 100 + 0.05)
                y.append(100 * float(correct[inside].sum()) / pixels)
                texts.append(f"{plotly_text(name)}: {y[-1]:.1f} % of {pixels:,} pixels")
        style = {"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k % len(DASHES)], "width": 2}
        trace = go.Scatter(x=x, y=y, mode="lines+markers", line=style, name=plotly_text(name))
        traces.append(trace.update(hovertext=texts, hoverinfo="text"))
    layout = {
        "height": 400,
        "xaxis": {"title": {"text": "score of the best class", "standoff": 6}, "range": [0, 1]},
        "yaxis": {"title": {"text": "correct pixels %", "standoff": 4}, "range": [0, 102]},
    }
    return build_figure(traces, "Reliability of the class maps", scope, layout)
