"""Figures of what happens inside a run: losses and learning rates, reliability of class maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ...platform.metrics import THRESHOLDS
from ..labels import text_of
from .style import COLOURS, DASHES, NEUTRAL, Figure, build

POINTS = 240
"""Of a curve, at most: longer ones are averaged over steps."""
NOT_TERMS = ("epoch", "step", "steps", "loss", "lr")
Counts = NDArray[np.int64]


def training(title: str, rows: Sequence[Mapping[str, Any]], whose: str) -> Figure:
    """Loss terms and the learning rate of one training by step, side by side.

    Args:
        title: of the stage.
        rows: one a step: the terms, `loss` (their sum), `lr`, `step`, `steps`, `epoch`.
        whose: the run.
    """
    name = text_of(f"Training: {title}")
    if not rows:
        return build([], name, f"no step yet · {whose}", {}, "No step yet")
    last = rows[-1]
    steps = np.array([row["step"] + 1 for row in rows], float)
    terms = [k for k in rows[0] if k not in NOT_TERMS]
    shown = ["loss", *(terms if len(terms) > 1 else [])]
    traces: list[Any] = []
    for k, term in enumerate(shown):
        colour, dash = COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)]
        label = "all terms" if term == "loss" and len(shown) > 1 else term
        traces.append(_line(steps, rows, term, label, color=colour, dash=dash, width=2))
    rate = _line(steps, rows, "lr", "learning rate", color=NEUTRAL, width=2)
    rate.update(xaxis="x2", yaxis="y2", showlegend=False)
    axis = {"title": {"text": "step", "standoff": 6}, "range": [0, last["steps"]]}
    layout = {
        "meta": {"panels": 2},
        "height": 330,
        "xaxis": {**axis, "anchor": "y"},
        "xaxis2": {**axis, "anchor": "x2"} | {"anchor": "y2"},
        "yaxis": {"title": {"text": "loss", "standoff": 4}, "rangemode": "tozero"},
        "yaxis2": {
            "title": {"text": "learning rate", "standoff": 4},
            "rangemode": "tozero",
            "anchor": "x2",
        },
    }
    each = -(-len(rows) // POINTS)
    mean = f"mean of {each} steps" if each > 1 else "every step"
    text = f"step {last['step'] + 1:,} of {last['steps']:,} · epoch {last['epoch'] + 1} · {mean}"
    return build([*traces, rate], name, f"{text} · {whose}", layout)


def _line(
    steps: NDArray[np.float64], rows: Sequence[Mapping[str, Any]], key: str, name: str, **line: Any
) -> Any:
    values = np.array([row.get(key, np.nan) for row in rows], float)
    each = -(-len(rows) // POINTS)
    cut = range(0, len(rows), each)
    x = np.array([steps[k : k + each].mean() for k in cut], np.float32)
    y = np.array([values[k : k + each].mean() for k in cut], np.float32)
    return go.Scatter(x=x, y=y, mode="lines", line=line, name=text_of(name))


def reliability(counts: Mapping[str, Counts], scope: str) -> Figure:
    """How often the best class of a pixel is right, by its score; a line for each class maps.

    Args:
        counts: by name: pixels `[C,C,T+1]` by target, best class, thresholds below the score.
        scope: what the numbers are of.
    """
    traces: list[Any] = [
        go.Scatter(
            x=[0, 1],
            y=[0, 100],
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot", "width": 1},
            hoverinfo="skip",
            name="score = share",
        )
    ]
    for k, (name, of) in enumerate(counts.items()):
        right = np.einsum("iit->t", of)
        total = of.sum((0, 1))
        x, y, texts = [], [], []
        for low in range(0, len(THRESHOLDS), 10):
            inside = slice(low + 1, low + 11)
            pixels = int(total[inside].sum())
            if pixels:
                x.append(low / 100 + 0.05)
                y.append(100 * float(right[inside].sum()) / pixels)
                texts.append(f"{text_of(name)}: {y[-1]:.1f} % of {pixels:,} pixels")
        style = {"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k % len(DASHES)], "width": 2}
        trace = go.Scatter(x=x, y=y, mode="lines+markers", line=style, name=text_of(name))
        traces.append(trace.update(hovertext=texts, hoverinfo="text"))
    layout = {
        "height": 400,
        "xaxis": {"title": {"text": "score of the best class", "standoff": 6}, "range": [0, 1]},
        "yaxis": {"title": {"text": "pixels of that class %", "standoff": 4}, "range": [0, 102]},
    }
    return build(traces, "Reliability of the class maps", scope, layout)
