"""Sensitivity of a sweep's objective to each parameter, in the form of LPCAM's Figure 5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from .partial_dependence import Curve, is_continuous, is_logarithmic, partial_dependences
from .style import COLOURS, NEUTRAL, Figure, build_figure

if TYPE_CHECKING:
    from plotly.basedatatypes import BaseTraceType

COLUMNS = 4
TICKS = 6
INTERVAL = 1.96
"""Standard deviations from the middle to the ends of an interval of 95 %."""


def sensitivity(sweep: SweepRecord) -> Figure:
    """Draw a panel for each parameter, in the form of LPCAM's Figure 5.

    A panel shows for each value of its parameter the mean and range of the objective over all
    trials, and a line over the trials whose other parameters have their default. The panel of a
    continuous parameter shows all trials and the partial dependence with an interval of 95 %.
    """
    done = [t for t in sweep.trials if is_done(t)]
    names, labels = list(sweep.space), sweep.labels
    if not done or not names:
        return build_figure(
            [], "Parameter sensitivity", sweep_scope(sweep), {}, "No finished trial"
        )
    default = {field: drawable(value) for field, value in sweep.default.items()}
    shared = [n for n in names if all(n in t.params for t in done)]
    logarithmic = [n for n in names if is_logarithmic(sweep.space[n])]
    curves = partial_dependences(done, shared, logarithmic)
    traces: list[BaseTraceType] = []
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
        layout[f"xaxis{suffix}"] |= _ticks(done, name, name in logarithmic)
        if is_continuous(done, name):
            panel = _continuous_traces(done, name, curves.get(name))
        else:
            panel = _panel_traces(done, default, name)
        traces += [trace.update(xaxis=f"x{suffix}", yaxis=f"y{suffix}") for trace in panel]
    named: set[str] = set()
    for trace in traces:  # the legend has each kind of trace once
        trace.update(showlegend=trace.legendgroup not in named)
        named.add(trace.legendgroup)
    return build_figure(traces, "Parameter sensitivity", sweep_scope(sweep), layout)


def _ticks(done: Sequence[Trial], name: str, logarithmic: bool) -> dict[str, Any]:
    """Return the kind of a parameter's axis, and its ticks where it has few values."""
    values = {value_of(t, name) for t in done if name in t.params}
    if not are_numbers(list(values)):
        return {"type": "category"}
    if is_continuous(done, name):
        numbers = [float(value) for value in values]
        decades = {"dtick": 1} if logarithmic and max(numbers) >= 10 * min(numbers) else {}
        return {"type": "log", **decades} if logarithmic else {}
    return {"tickvals": sorted(values, key=float)} if 0 < len(values) <= TICKS else {}


def _continuous_traces(
    done: Sequence[Trial], name: str, curve: Curve | None
) -> list[BaseTraceType]:
    """Return the trials as points and, unless None, the curve with its interval."""
    trials = [t for t in done if name in t.params]
    points = go.Scatter(
        x=np.array([float(value_of(t, name)) for t in trials], np.float32),
        y=np.array([100 * objective(t) for t in trials], np.float32),
        mode="markers",
        marker={"color": NEUTRAL, "size": 5},
        name="trial",
        legendgroup="trial",
    )
    if curve is None:
        return [points]
    low = 100 * (curve.mean - INTERVAL * curve.deviation)
    high = 100 * (curve.mean + INTERVAL * curve.deviation)
    band = go.Scatter(
        x=np.concatenate([curve.x, curve.x[::-1]]).astype(np.float32),
        y=np.concatenate([high, low[::-1]]).astype(np.float32),
        mode="lines",
        line={"width": 0, "color": COLOURS[0]},
        fill="toself",
        opacity=0.35,
        hoverinfo="skip",
        name="interval of 95 %",
        legendgroup="interval",
    )
    line = go.Scatter(
        x=curve.x.astype(np.float32),
        y=(100 * curve.mean).astype(np.float32),
        mode="lines",
        line={"color": COLOURS[0], "width": 2},
        name="partial dependence",
        legendgroup="dependence",
    )
    return [band, points, line]


def _panel_traces(
    done: Sequence[Trial], default: Mapping[str, Value], name: str
) -> list[BaseTraceType]:
    groups: dict[Value, list[float]] = {}
    for trial in done:
        if name in trial.params:
            groups.setdefault(value_of(trial, name), []).append(100 * objective(trial))
    keys = sorted(groups, key=float if are_numbers(list(groups)) else str)
    mean = [float(np.mean(groups[k])) for k in keys]
    at_default = [t for t in done if _at_default(t, default, name)]
    values = {k: [100 * objective(t) for t in at_default if value_of(t, name) == k] for k in keys}
    line = {k: float(np.mean(v)) for k, v in values.items() if v}
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
    spread = go.Scatter(x=x, y=mean, error_y=error, mode="lines+markers", marker=marks)
    spread.update(name="mean and range over the other parameters", legendgroup="mean")
    fixed = go.Scatter(x=[_tick(k) for k in line])
    fixed.update(y=list(line.values()), mode="lines+markers", legendgroup="default")
    fixed.update(name="other parameters at default", line={"dash": "dash", "color": COLOURS[1]})
    point = go.Scatter(x=[_tick(k) for k in default_point], mode="markers")
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
