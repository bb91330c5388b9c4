"""Figures from the tables of runs and sweeps, as plain dicts for Plotly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..platform.runs import PARTS, Score, SweepRecord, Trial
from .parallel import parallel_coordinates
from .plotting import (
    COLOURS,
    DASHES,
    Figure,
    Value,
    axis_title,
    build,
    is_done,
    numeric,
    objective,
    scope,
    sweep_scope,
    text_of,
)

__all__ = ["parallel_coordinates", "parts", "per_class_iou", "sensitivity", "threshold_curve"]
COLUMNS = 4
TICKS = 6


def sensitivity(sweep: SweepRecord) -> Figure:
    """One panel for each parameter, in the form of LPCAM's Figure 5.

    For each value the mean and the range over all other parameters, and the line of the trials
    whose other parameters are at their default.
    """
    done = [t for t in sweep.trials if is_done(t)]
    names, labels = list(sweep.space), sweep.labels
    if not done or not names:
        return build([], "Sensitivity", sweep_scope(sweep), {}, "No finished trial")
    traces: list[Any] = []
    layout: dict[str, Any] = {"meta": {"panels": len(names)}, "height": 330}
    for k, name in enumerate(names):
        suffix = str(k + 1) if k else ""
        (x0, x1), (y0, y1) = _panel(k, len(names))
        layout[f"xaxis{suffix}"] = {
            "title": {"text": axis_title(labels[name]), "standoff": 6},
            "domain": [x0, x1],
            "anchor": f"y{suffix}",
        }
        layout[f"yaxis{suffix}"] = {
            "domain": [y0, y1],
            "anchor": f"x{suffix}",
            "title": {"text": "" if k else "best mIoU %", "standoff": 4},
            **({"matches": "y"} if k else {}),
        }
        values = {t.params[name] for t in done if name in t.params}
        if not numeric(list(values)):
            layout[f"xaxis{suffix}"]["type"] = "category"
        elif 0 < len(values) <= TICKS:
            layout[f"xaxis{suffix}"]["tickvals"] = sorted(values, key=float)
        traces += _panel_traces(done, sweep.default, name, k)
    return build(traces, "Sensitivity", sweep_scope(sweep), layout)


def threshold_curve(scores: Mapping[str, Score], whose: str) -> Figure:
    """mIoU % of the seed at every threshold, the chosen point marked; one line a label."""
    traces: list[Any] = []
    for k, (label, score) in enumerate(scores.items()):
        colour = COLOURS[k % len(COLOURS)]
        value = 100 * score.value
        name = f"{label}: {value:.1f} % at {score.threshold:g}, from {score.threshold_from}"
        style = {"color": colour, "dash": DASHES[k % len(DASHES)], "width": 2}
        curve = 100 * np.asarray(score.miou, np.float32)
        x = np.asarray(score.thresholds, np.float32)
        traces.append(
            go.Scatter(x=x, y=curve, mode="lines", line=style, name=text_of(name), legendgroup=k)
        )
        traces.append(
            go.Scatter(
                x=[score.threshold],
                y=[value],
                mode="markers",
                marker={"color": colour, "size": 11, "symbol": "circle"},
                hovertext=text_of(name),
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
    return build(traces, "Threshold curve", _scopes(scores, whose), layout, _none(scores))


def per_class_iou(scores: Mapping[str, Score], whose: str) -> Figure:
    """Grouped bars of IoU % for each scored class; a class without pixels is marked absent."""
    first = next(iter(scores.values()), None)
    names = [first.classes[c] for c in first.scored] if first else []
    traces = []
    for k, (label, score) in enumerate(scores.items()):
        values = [score.iou[c] for c in score.scored]
        known = [v is not None and math.isfinite(v) for v in values]
        shown = [100 * (v or 0.0) if ok else 0.0 for v, ok in zip(values, known, strict=True)]
        texts = [f"{v:.1f}" if ok else "absent" for v, ok in zip(shown, known, strict=True)]
        traces.append(_bars(label, k, np.arange(len(shown)), shown, texts))
    layout = {
        "height": 130 + len(names) * (10 + 15 * max(1, len(scores))),
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": _rows([text_of(n, 24) for n in names]),
    }
    return build(traces, "IoU % by class", _scopes(scores, whose), layout, _none(scores))


def confusion(label: str, score: Score, whose: str) -> Figure:
    """What each class's pixels were taken for, in percent of the class; scored classes only.

    Pixels taken for a class that is not scored are left out of the columns, not of the sums.
    """
    chosen = list(score.scored)
    names = [text_of(score.classes[c], 14) for c in chosen]
    matrix = np.asarray(score.confusion or [[0]], np.float64)
    rows = matrix[chosen] if score.confusion else np.zeros((len(chosen), 1))
    shares = 100 * rows / np.maximum(rows.sum(1, keepdims=True), 1)
    shown = shares[:, chosen] if score.confusion else np.zeros((len(chosen), len(chosen)))
    trace = go.Heatmap(
        z=shown.astype(np.float32),
        x=np.arange(len(names)),
        y=np.arange(len(names)),
        zmin=0,
        zmax=100,
        colorscale="Cividis",
        texttemplate="%{z:.0f}",
        hovertemplate="%{y} taken for %{x}: %{z:.1f} %<extra></extra>",
        colorbar={"thickness": 10, "ticksuffix": " %"},
    )
    ticks = {"tickvals": list(range(len(names))), "ticktext": names}
    layout = {
        "height": 190 + 26 * len(names),
        "xaxis": {**ticks, "title": {"text": f"{text_of(label)} says"}, "showgrid": False},
        "yaxis": {**_rows(names), "title": {"text": "target", "standoff": 14}, "automargin": True},
    }
    title = f"Confusion of {text_of(label)}, % of each class"
    return build([trace], title, scope(score, whose), layout, "" if score.confusion else "not kept")


def parts(scores: Mapping[str, Score], whose: str) -> Figure:
    """Share of the pixels of each kind of part that is activated for the class it belongs to."""
    marked = {label: s for label, s in scores.items() if s.parts is not None}
    traces = []
    for k, (label, score) in enumerate(marked.items()):
        table = score.parts or {}
        known = [100 * table.get(p, math.nan) for p in PARTS]
        shown = [v if math.isfinite(v) else 0.0 for v in known]
        texts = [f"{v:.1f}" if math.isfinite(v) else "absent" for v in known]
        traces.append(_bars(label, k, np.arange(len(PARTS)), shown, texts))
    layout = {
        "height": 150 + len(PARTS) * (12 + 20 * max(1, len(marked))),
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": _rows(["discriminative part", "other parts", "context"]),
    }
    note = "" if marked else "This data set marks no parts"
    return build(traces, "Activated share of each part, %", _scopes(scores, whose), layout, note)


def _panel_traces(
    done: Sequence[Trial], default: Mapping[str, Value], name: str, panel: int
) -> list[Any]:
    groups: dict[Value, list[float]] = {}
    for trial in done:
        if name in trial.params:
            groups.setdefault(trial.params[name], []).append(100 * objective(trial))
    keys = sorted(groups, key=float if numeric(list(groups)) else str)
    mean = [float(np.mean(groups[k])) for k in keys]
    line = [t for t in done if _at_default(t, default, name)]
    at = {k: [100 * objective(t) for t in line if t.params[name] == k] for k in keys}
    fixed_at = {k: float(np.mean(v)) for k, v in at.items() if v}
    suffix = str(panel + 1) if panel else ""
    base = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": panel == 0}
    error = {
        "type": "data",
        "symmetric": False,
        "array": [max(groups[k]) - m for k, m in zip(keys, mean, strict=True)],
        "arrayminus": [m - min(groups[k]) for k, m in zip(keys, mean, strict=True)],
        "thickness": 1.2,
        "width": 5,
    }
    x = [_tick(k) for k in keys]
    marks = {"size": 8, "color": COLOURS[0]}
    there = {k: v for k, v in fixed_at.items() if _same(k, default.get(name))}
    spread = go.Scatter(x=x, y=mean, error_y=error, mode="lines+markers", marker=marks, **base)
    spread.update(name="mean and range over the other parameters", legendgroup="mean")
    fixed = go.Scatter(x=[_tick(k) for k in fixed_at], **base)
    fixed.update(y=list(fixed_at.values()), mode="lines+markers", legendgroup="default")
    fixed.update(name="the others at their default", line={"dash": "dash", "color": COLOURS[1]})
    point = go.Scatter(x=[_tick(k) for k in there], mode="markers", **base)
    point.update(y=list(there.values()), legendgroup="point", name="default point")
    point.update(marker={"symbol": "star", "size": 14, "color": COLOURS[1]})
    return [spread, fixed, point]


def _at_default(trial: Trial, default: Mapping[str, Value], name: str) -> bool:
    others = (k for k in trial.params if k != name)
    return name in trial.params and all(_same(trial.params[k], default.get(k)) for k in others)


def _panel(k: int, count: int) -> tuple[tuple[float, float], tuple[float, float]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    gap_x, gap_y = 0.055, 0.2 if rows > 1 else 0.0
    width, height = (1 + gap_x) / columns - gap_x, (1 + gap_y) / rows - gap_y
    x, y = (k % columns) * (width + gap_x), (rows - 1 - k // columns) * (height + gap_y)
    return (x, min(1.0, x + width)), (y, min(1.0, y + height))


def _bars(label: str, k: int, y: Any, x: Sequence[float], texts: Sequence[str]) -> Any:
    return go.Bar(
        x=np.asarray(x, np.float32),
        y=y,
        orientation="h",
        name=text_of(label),
        text=list(texts),
        textposition="outside",
        textfont={"size": 10},
        cliponaxis=False,
        marker={"color": COLOURS[k % len(COLOURS)]},
        hoverinfo="text+name",
    )


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    ticks = {"tickvals": list(range(len(labels))), "ticktext": list(labels)}
    return {**ticks, "range": [len(labels) - 0.5, -0.5], "showgrid": False}


def _scopes(scores: Mapping[str, Score], whose: str) -> str:
    lines = list(dict.fromkeys(scope(s, whose) for s in scores.values()))
    return " / ".join(lines) or f"no split, no images, no classes, no rule · {whose}"


def _none(scores: Mapping[str, Score]) -> str:
    return "" if scores else "No scores"


def _same(a: Value | None, b: Value | None) -> bool:
    if a is None or b is None or isinstance(a, str | bool) or isinstance(b, str | bool):
        return a == b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _tick(value: Value) -> float | int | str:
    return text_of(str(value), 20) if isinstance(value, str | bool) else value
