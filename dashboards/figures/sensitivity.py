"""Sensitivity of a sweep's objective to each parameter, in the form of LPCAM's Figure 5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ...platform.records.schema import SweepRecord, Trial
from ..labels import (
    Value,
    are_numbers,
    axis_title,
    drawable,
    is_done,
    objective,
    plotly_text,
    sweep_scope,
    value_of,
)
from .style import COLOURS, Figure, build_figure

COLUMNS = 4
TICKS = 6


def sensitivity(sweep: SweepRecord) -> Figure:
    """Draw a panel for each parameter, in the form of LPCAM's Figure 5.

    A panel shows for each value of its parameter the mean and range of the objective over all
    trials, and a line over the trials whose other parameters have their default.
    """
    done = [t for t in sweep.trials if is_done(t)]
    names, labels = list(sweep.space), sweep.labels
    if not done or not names:
        return build_figure(
            [], "Parameter sensitivity", sweep_scope(sweep), {}, "No finished trial"
        )
    default = {field: drawable(value) for field, value in sweep.default.items()}
    traces: list[object] = []
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
        values = {value_of(t, name) for t in done if name in t.params}
        if not are_numbers(list(values)):
            layout[f"xaxis{suffix}"]["type"] = "category"
        elif 0 < len(values) <= TICKS:
            layout[f"xaxis{suffix}"]["tickvals"] = sorted(values, key=float)
        traces += _panel_traces(done, default, name, k)
    return build_figure(traces, "Parameter sensitivity", sweep_scope(sweep), layout)


def _panel_traces(
    done: Sequence[Trial], default: Mapping[str, Value], name: str, panel: int
) -> list[object]:
    groups: dict[Value, list[float]] = {}
    for trial in done:
        if name in trial.params:
            groups.setdefault(value_of(trial, name), []).append(100 * objective(trial))
    keys = sorted(groups, key=float if are_numbers(list(groups)) else str)
    mean = [float(np.mean(groups[k])) for k in keys]
    at_default = [t for t in done if _at_default(t, default, name)]
    values = {k: [100 * objective(t) for t in at_default if value_of(t, name) == k] for k in keys}
    line = {k: float(np.mean(v)) for k, v in values.items() if v}
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
    default_point = {k: v for k, v in line.items() if _same(k, default.get(name))}
    spread = go.Scatter(x=x, y=mean, error_y=error, mode="lines+markers", marker=marks, **base)
    spread.update(name="mean and range over the other parameters", legendgroup="mean")
    fixed = go.Scatter(x=[_tick(k) for k in line], **base)
    fixed.update(y=list(line.values()), mode="lines+markers", legendgroup="default")
    fixed.update(name="other parameters at default", line={"dash": "dash", "color": COLOURS[1]})
    point = go.Scatter(x=[_tick(k) for k in default_point], mode="markers", **base)
    point.update(y=list(default_point.values()), legendgroup="point", name="default values")
    point.update(marker={"symbol": "star", "size": 14, "color": COLOURS[1]})
    return [spread, fixed, point]


def _at_default(trial: Trial, default: Mapping[str, Value], name: str) -> bool:
    others = (k for k in trial.params if k != name)
    return name in trial.params and all(_same(value_of(trial, k), default.get(k)) for k in others)


def _panel(k: int, count: int) -> tuple[tuple[float, float], tuple[float, float]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    gap_x, gap_y = 0.055, 0.2 if rows > 1 else 0.0
    width, height = (1 + gap_x) / columns - gap_x, (1 + gap_y) / rows - gap_y
    x, y = (k % columns) * (width + gap_x), (rows - 1 - k // columns) * (height + gap_y)
    return (x, min(1.0, x + width)), (y, min(1.0, y + height))


def _same(a: Value | None, b: Value | None) -> bool:
    if a is None or b is None or isinstance(a, str | bool) or isinstance(b, str | bool):
        return a == b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _tick(value: Value) -> float | int | str:
    return plotly_text(str(value), 20) if isinstance(value, str | bool) else value
