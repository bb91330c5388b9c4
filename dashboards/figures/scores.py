"""Figures of a run's scores: mIoU by threshold, IoU by class, confusion, activated object parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ...platform.records.schema import PARTS, Score
from ..labels import plotly_text, score_scope
from .style import COLOURS, DASHES, Figure, build_figure

SIZES_TITLE = "mIoU % by size of object"
SIZES_HEIGHT = 400


def threshold_curve(scores: Mapping[str, Score], owner: str) -> Figure:
    """Draw the mIoU of seeds at every threshold, with the chosen threshold marked.

    Args:
        scores: score by label; each is a line.
        owner: name of the run.
    """
    traces: list[object] = []
    for k, (label, score) in enumerate(scores.items()):
        colour = COLOURS[k % len(COLOURS)]
        value = 100 * score.value
        name = f"{label}: {value:.1f} % at {score.threshold:g}, from {score.threshold_from}"
        style = {"color": colour, "dash": DASHES[k % len(DASHES)], "width": 2}
        curve = 100 * np.asarray(score.miou, np.float32)
        x = np.asarray(score.thresholds, np.float32)
        traces.append(
            go.Scatter(
                x=x, y=curve, mode="lines", line=style, name=plotly_text(name), legendgroup=k
            )
        )
        traces.append(
            go.Scatter(
                x=[score.threshold],
                y=[value],
                mode="markers",
                marker={"color": colour, "size": 11, "symbol": "circle"},
                hovertext=plotly_text(name),
                hoverinfo="text",
                legendgroup=k,
                showlegend=False,
            )
        )
    layout = {
        "height": 400,
        "xaxis": {"title": {"text": "seed threshold", "standoff": 6}},
        "yaxis": {"title": {"text": "mIoU %", "standoff": 4}, "rangemode": "tozero"},
    }
    return build_figure(
        traces, "Seed mIoU by threshold", _scopes(scores, owner), layout, _note(scores)
    )


def per_class_iou(scores: Mapping[str, Score], owner: str) -> Figure:
    """Draw the IoU of each scored class as grouped bars; a class without pixels is marked absent.

    Args:
        scores: score by label; each is a bar in every group.
        owner: name of the run.
    """
    first = next(iter(scores.values()), None)
    names = [first.classes[c] for c in first.scored] if first else []
    traces = []
    for k, (label, score) in enumerate(scores.items()):
        values = [score.iou[c] for c in score.scored]
        known = [v is not None and math.isfinite(v) for v in values]
        lengths = [100 * (v or 0.0) if ok else 0.0 for v, ok in zip(values, known, strict=True)]
        texts = [f"{v:.1f}" if ok else "absent" for v, ok in zip(lengths, known, strict=True)]
        traces.append(_bars(label, k, np.arange(len(lengths)), lengths, texts))
    layout = {
        "height": 130 + len(names) * (10 + 15 * max(1, len(scores))),
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": _rows([plotly_text(n, 24) for n in names]),
    }
    return build_figure(traces, "IoU % by class", _scopes(scores, owner), layout, _note(scores))


def iou_by_size(
    values: Mapping[str, Sequence[float | None]], sizes: Mapping[str, Sequence[str]], scope: str
) -> Figure:
    """Draw the mean IoU of objects by their size as grouped bars.

    Args:
        values: mean IoU of each size by label; None for a size without objects. Each label is a bar
            in every group.
        sizes: lines of text below the name of each size, by the name.
        scope: line that says what was measured.
    """
    traces = []
    for k, (label, by_size) in enumerate(values.items()):
        lengths = [100 * (v or 0.0) for v in by_size]
        texts = ["absent" if v is None else f"{100 * v:.1f}" for v in by_size]
        traces.append(_bars(label, k, np.arange(len(sizes)), lengths, texts))
    layout = {
        "height": SIZES_HEIGHT,
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": _rows(["<br>".join([size, *lines]) for size, lines in sizes.items()]),
    }
    return build_figure(traces, SIZES_TITLE, scope, layout)


def confusion(label: str, score: Score, owner: str) -> Figure:
    """Draw the confusion matrix of the scored classes, in percent of each target class.

    Pixels predicted as a class that is not scored have no column but count in the sum of the row.

    Args:
        label: title of the result.
        score: score of the result.
        owner: name of the run.
    """
    chosen = list(score.scored)
    names = [plotly_text(score.classes[c], 14) for c in chosen]
    matrix = np.asarray(score.confusion or [[0]], np.float64)
    rows = matrix[chosen] if score.confusion else np.zeros((len(chosen), 1))
    shares = 100 * rows / np.maximum(rows.sum(1, keepdims=True), 1)
    columns = shares[:, chosen] if score.confusion else np.zeros((len(chosen), len(chosen)))
    trace = go.Heatmap(
        z=columns.astype(np.float32),
        x=np.arange(len(names)),
        y=np.arange(len(names)),
        zmin=0,
        zmax=100,
        colorscale="Cividis",
        texttemplate="%{z:.0f}",
        hovertemplate="%{y} predicted as %{x}: %{z:.1f} %<extra></extra>",
        colorbar={"thickness": 10, "ticksuffix": " %"},
    )
    ticks = {"tickvals": list(range(len(names))), "ticktext": names}
    layout = {
        "height": 190 + 26 * len(names),
        "xaxis": {
            **ticks,
            "title": {"text": f"predicted by {plotly_text(label)}"},
            "showgrid": False,
        },
        "yaxis": {**_rows(names), "title": {"text": "target", "standoff": 14}, "automargin": True},
    }
    title = f"Confusion matrix of {plotly_text(label)}, % of each target class"
    note = "" if score.confusion else "No confusion matrix was recorded"
    return build_figure([trace], title, score_scope(score, owner), layout, note)


def parts(scores: Mapping[str, Score], owner: str) -> Figure:
    """Draw the share of each kind of object part that is activated for the class of the object.

    Args:
        scores: score by label; scores of a data set without part maps are left out.
        owner: name of the run.
    """
    marked = {label: s for label, s in scores.items() if s.parts is not None}
    traces = []
    for k, (label, score) in enumerate(marked.items()):
        table = score.parts or {}
        known = [100 * table.get(p, math.nan) for p in PARTS]
        lengths = [v if math.isfinite(v) else 0.0 for v in known]
        texts = [f"{v:.1f}" if math.isfinite(v) else "absent" for v in known]
        traces.append(_bars(label, k, np.arange(len(PARTS)), lengths, texts))
    layout = {
        "height": 150 + len(PARTS) * (12 + 20 * max(1, len(marked))),
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": _rows(["discriminative part", "other parts", "context"]),
    }
    note = "" if marked else "This data set has no part maps"
    return build_figure(
        traces, "Activated share of object parts, %", _scopes(scores, owner), layout, note
    )


def _bars(label: str, k: int, y: object, x: Sequence[float], texts: Sequence[str]) -> object:
    return go.Bar(
        x=np.asarray(x, np.float32),
        y=y,
        orientation="h",
        name=plotly_text(label),
        text=list(texts),
        textposition="outside",
        textfont={"size": 10},
        cliponaxis=False,
        marker={"color": COLOURS[k % len(COLOURS)]},
        hoverinfo="text+name",
    )


def _rows(labels: Sequence[str]) -> dict[str, object]:
    ticks = {"tickvals": list(range(len(labels))), "ticktext": list(labels)}
    return {**ticks, "range": [len(labels) - 0.5, -0.5], "showgrid": False}


def _scopes(scores: Mapping[str, Score], owner: str) -> str:
    lines = list(dict.fromkeys(score_scope(s, owner) for s in scores.values()))
    return " / ".join(lines) or f"no score to draw · {owner}"


def _note(scores: Mapping[str, Score]) -> str:
    return "" if scores else "No score to draw"
