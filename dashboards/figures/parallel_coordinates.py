"""Parallel coordinates of a sweep's trials, drawn as lines, which need no WebGL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ...platform.records.field_labels import short_text
from ...platform.records.schema import SweepRecord, Trial
from ..labels import (
    Value,
    are_numbers,
    axis_title,
    is_done,
    objective,
    params_text,
    plotly_text,
    sweep_scope,
    value_of,
)
from .style import COLOURS, NEUTRAL, Figure, build_figure

SHADES = 12
CHARACTER = 8
"""Width in pixels of a wide character of a title. Plotly hides a title that the page would cut."""


def parallel_coordinates(sweep: SweepRecord) -> Figure:
    """Draw each trial as a line over an axis for each parameter and one for the objective.

    Lines that meet at one value are spread a little by rank, so that each can be seen. The line of
    a failed trial is dotted and ends before the objective.
    """
    done = sorted((t for t in sweep.trials if is_done(t)), key=objective)
    axes = [_axis(n, [value_of(t, n) for t in sweep.trials if n in t.params]) for n in sweep.space]
    objective_axis = _axis("mIoU %", [100 * objective(t) for t in done], ".1f")
    ranks = {t.id: (k + 0.5) / len(done) - 0.5 for k, t in enumerate(done)}
    paths = {t.id: _path(t, axes, ranks.get(t.id, 0.0)) for t in sweep.trials}
    colours = _shades([objective(t) for t in done])
    ends = {t.id: objective_axis.position(100 * objective(t)) for t in done}
    labels = sweep.labels
    traces: list[object] = []
    for shade in dict.fromkeys(colours):
        ids = [t.id for t, c in zip(done, colours, strict=True) if c == shade]
        traces.append(_lines([[*paths[k], ends[k]] for k in ids], color=shade, width=1.4))
    if done:
        best = done[-1]
        line = [*paths[best.id], ends[best.id]]
        traces.append(_lines([line], color=COLOURS[1], width=3.5))
        traces.append(_ends(done, labels, len(axes), [ends[t.id] for t in done], colours))
    failed = [t for t in sweep.trials if not is_done(t)]
    if failed and axes:
        traces.append(_lines([paths[t.id] for t in failed], color=NEUTRAL, width=1, dash="dot"))
        last = [paths[t.id][-1] for t in failed]
        traces.append(_ends(failed, labels, len(axes) - 1, last, [NEUTRAL] * len(failed), "x"))
    if not traces:
        return build_figure([], "Parallel coordinates", sweep_scope(sweep), {}, "No trial yet")
    names = [*(labels[axis.name] for axis in axes), objective_axis.name]
    layout = {**_axis_layout([*axes, objective_axis], names), "height": 400, "showlegend": False}
    layout["meta"] = {"positions": True}  # so that the page saves no positions as data
    if not done:
        note = {"x": len(axes), "y": 0.5, "xanchor": "right", "text": "No finished trial"}
        layout["annotations"].append({**note, "name": "tick", "showarrow": False})
    return build_figure(traces, "Parallel coordinates", sweep_scope(sweep), layout)


@dataclass(frozen=True)
class _Axis:
    """Vertical axis of parallel coordinates.

    Attributes:
        name: field of the parameter.
        values: distinct values of the parameter, sorted.
        ticks: position from 0 to 1 and label of each tick.
        spread: largest distance by which a line is moved away from its value.
        counts: whether the values are numbers.
    """

    name: str
    values: tuple[Value, ...]
    ticks: tuple[tuple[float, str], ...]
    spread: float
    counts: bool

    def position(self, value: Value) -> float:
        if not self.counts:
            return self.values.index(value) / max(1, len(self.values) - 1)
        low, high = float(self.values[0]), float(self.values[-1])
        return (float(value) - low) / (high - low) if high > low else 0.5


def _axis(name: str, raw: Sequence[Value], form: str = ".4g") -> _Axis:
    counts = are_numbers(raw)
    if counts:
        values: tuple[Value, ...] = tuple(sorted(set(raw), key=float))
    else:
        values = tuple(sorted(set(raw), key=str))
    spread = min(0.07, 0.35 / len(values)) if 0 < len(values) <= SHADES else 0.0
    without_ticks = _Axis(name, values, (), spread, counts)
    if len(values) <= 8 or not counts:
        marked = [*values[:: max(1, len(values) // 12)]]
        ticks = [(without_ticks.position(v), plotly_text(short_text(v), 14)) for v in marked]
    else:
        low, high = float(values[0]), float(values[-1])
        ticks = [(k / 4, format(low + (high - low) * k / 4, form)) for k in range(5)]
    return _Axis(name, values, tuple(ticks), spread, counts)


def _path(trial: Trial, axes: Sequence[_Axis], rank: float) -> list[float | None]:
    path: list[float | None] = []
    for axis in axes:
        has_value = axis.name in trial.params
        position = axis.position(value_of(trial, axis.name)) if has_value else None
        path.append(None if position is None else position + 2 * rank * axis.spread)
    return path


def _lines(paths: Sequence[Sequence[float | None]], **line: object) -> object:
    x: list[int | None] = []
    y: list[float | None] = []
    for path in paths:
        x += [*range(len(path)), None]
        y += [*(None if p is None else round(p, 4) for p in path), None]
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")


def _ends(
    trials: Sequence[Trial],
    labels: Mapping[str, str],
    column: int,
    heights: Sequence[float | None],
    colours: Sequence[str],
    symbol: str = "circle",
) -> object:
    texts = []
    for t in trials:
        result = t.status if not is_done(t) else f"{100 * objective(t):.2f} %"
        error = [plotly_text(t.error, 60)] if t.error else []
        head = f"trial {plotly_text(t.id, 20)}: {plotly_text(result)}"
        texts.append("<br>".join([head, *params_text(t, labels), *error]))
    return go.Scatter(
        x=[column] * len(trials),
        y=list(heights),
        mode="markers",
        marker={"color": list(colours), "size": 7, "symbol": symbol},
        hovertext=texts,
        hoverinfo="text",
        cliponaxis=False,
    )


def _axis_layout(axes: Sequence[_Axis], names: Sequence[str]) -> dict[str, Any]:
    rule = {"type": "line", "y0": -0.04, "y1": 1.04, "layer": "below"}
    line = {"color": NEUTRAL, "width": 1}
    last, titles = len(axes) - 1, [axis_title(name) for name in names]
    left = max(CHARACTER * len(line) / 2 for line in titles[0].split("<br>"))
    return {
        "shapes": [{**rule, "x0": k, "x1": k, "line": line} for k in range(len(axes))],
        "annotations": [
            {
                "name": "tick",
                "x": k,
                "y": position,
                "text": label,
                "showarrow": False,
                "xanchor": "left",
                "xshift": 7 if k == last else 4,
                "font": {"size": 11},
            }
            for k, axis in enumerate(axes)
            for position, label in axis.ticks
        ],
        "xaxis": {
            "tickvals": list(range(len(axes))),
            "ticktext": [f"<b>{title}</b>" for title in titles],
            "range": [-0.05, last + 0.05],
            "showgrid": False,
            "showline": False,
            "side": "top",
            "fixedrange": True,
        },
        "yaxis": {"visible": False, "range": [-0.08, 1.08], "fixedrange": True},
        "margin": {"l": max(16, round(left)), "r": 48, "t": 90, "b": 8},
    }


def _shades(values: Sequence[float]) -> list[str]:
    """Return a colour for each sorted value, from faint grey to full blue in SHADES steps."""
    low, high = (values[0], values[-1]) if values else (0.0, 1.0)
    grey, blue = np.array([138, 147, 163, 0.5]), np.array([0, 114, 178, 1.0])
    out = []
    for v in values:
        step = round((SHADES - 1) * ((v - low) / (high - low) if high > low else 1.0))
        r, g, b, a = grey + (blue - grey) * step / (SHADES - 1)
        out.append(f"rgba({r:.0f},{g:.0f},{b:.0f},{a:.2f})")
    return out
