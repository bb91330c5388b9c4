"""Figures of the search that a sweep is: importance, pairs of parameters, history."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ...platform.records.schema import SweepRecord, Trial
from ..labels import (
    LABEL,
    Value,
    axis_title,
    is_done,
    numeric,
    objective,
    params_text,
    short,
    sweep_scope,
    text_of,
)
from .style import COLOURS, NEUTRAL, Figure, build

FEW = 12
"""Different values of a parameter, at most, that are taken as so many cases."""
PAIRED = 5
"""Parameters, the most important ones, whose pairs are drawn."""


def importances(sweep: SweepRecord) -> dict[str, float]:
    """How much each parameter decides whether a trial is among the best, as shares of 1, highest
    first; empty where trials do not tell.

    PED-ANOVA of Optuna (Watanabe et al., IJCAI 2023), on the trials that are done.
    """
    done = [t for t in sweep.trials if is_done(t) and all(n in t.params for n in sweep.space)]
    varied = [n for n in sweep.space if len({t.params[n] for t in done}) > 1]
    if len({objective(t) for t in done}) < 2 or not varied:
        return {}
    import optuna

    study = optuna.create_study(direction="maximize", storage=_quiet(optuna))
    spaces = {n: _distribution(optuna, [t.params[n] for t in done]) for n in varied}
    for t in done:
        params = {n: t.params[n] for n in varied}
        made = optuna.trial.create_trial(params=params, distributions=spaces, value=objective(t))
        study.add_trial(made)
    judge = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=judge)
    return {name: float(share) for name, share in shares.items()}


def _quiet(optuna: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.InMemoryStorage()


def _distribution(optuna: Any, values: Sequence[Value]) -> Any:
    different = sorted(set(values), key=str)
    if numeric(values) and len(different) > FEW:
        low, high = min(map(float, values)), max(map(float, values))
        return optuna.distributions.FloatDistribution(low, high)
    return optuna.distributions.CategoricalDistribution(different)


def importance(sweep: SweepRecord, shares: Mapping[str, float]) -> Figure:
    """Bars of `importances`."""
    names, labels = list(shares), sweep.labels
    bars = go.Bar(
        x=np.array([100 * shares[n] for n in names], np.float32),
        y=np.arange(len(names)),
        orientation="h",
        text=[f"{100 * shares[n]:.0f} %" for n in names],
        textposition="outside",
        cliponaxis=False,
        marker={"color": COLOURS[0]},
        hoverinfo="skip",
    )
    layout = {
        "height": 130 + 34 * max(1, len(names)),
        "xaxis": {"range": [0, 112], "tickvals": [0, 25, 50, 75, 100]},
        "yaxis": {
            "tickvals": list(range(len(names))),
            "ticktext": [text_of(labels[n], LABEL) for n in names],
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
        },
        "bargap": 0.35,
    }
    title = "Importance of the parameters for the best trials, % (PED-ANOVA)"
    note = "" if names else "Too few finished trials to tell"
    return build([bars] if names else [], title, sweep_scope(sweep), layout, note)


def history(sweep: SweepRecord) -> Figure:
    """The objective of each trial in order, and the best so far; others at the lower edge."""
    done = [(k, 100 * objective(t), t) for k, t in enumerate(sweep.trials) if is_done(t)]
    if not sweep.trials:
        return build([], "History", sweep_scope(sweep), {}, "No trial yet")
    values, labels = [v for _, v, _ in done], sweep.labels
    points = go.Scatter(
        x=[k for k, _, _ in done],
        y=np.array(values, np.float32),
        mode="markers",
        marker={"color": COLOURS[0], "size": 6},
        name="trial",
        hovertext=[_hover(t, labels) for _, _, t in done],
        hoverinfo="text",
    )
    best = go.Scatter(
        x=[k for k, _, _ in done],
        y=np.maximum.accumulate(np.array(values, np.float32)) if values else [],
        mode="lines",
        line={"color": COLOURS[1], "width": 2, "shape": "hv"},
        name="best so far",
        hoverinfo="skip",
    )
    floor = min(values, default=0.0) - 0.05 * (max(values, default=1.0) - min(values, default=0.0))
    lost = [(k, t) for k, t in enumerate(sweep.trials) if not is_done(t)]
    failed = go.Scatter(
        x=[k for k, _ in lost],
        y=[floor] * len(lost),
        mode="markers",
        marker={"color": NEUTRAL, "size": 7, "symbol": "x"},
        name="failed or stopped",
        hovertext=[_hover(t, labels) for _, t in lost],
        hoverinfo="text",
    )
    layout = {
        "height": 360,
        "xaxis": {"title": {"text": "trial, in order", "standoff": 6}},
        "yaxis": {"title": {"text": "best mIoU %", "standoff": 4}},
    }
    traces = [points, best, *([failed] if lost else [])]
    return build(traces, "History", sweep_scope(sweep), layout)


def _hover(trial: Trial, labels: Mapping[str, str]) -> str:
    result = f"{100 * objective(trial):.2f} %" if is_done(trial) else trial.status
    head = f"trial {text_of(trial.id, 20)}: {text_of(result)}"
    return "<br>".join([head, *params_text(trial, labels)])


def pairs(sweep: SweepRecord, shares: Mapping[str, float]) -> Figure:
    """A panel for each pair of the most important parameters: the mean objective over all others.

    Parameters with few values make cells, others points.
    """
    title = "Pairs of parameters: mean of the best mIoU %"
    done = [t for t in sweep.trials if is_done(t)]
    couples = list(itertools.combinations(list(shares)[:PAIRED], 2))
    if not couples:
        return build([], title, sweep_scope(sweep), {}, "Fewer than two parameters vary")
    values, labels = [100 * objective(t) for t in done], sweep.labels
    bar = {"thickness": 10, "ticksuffix": " %", "len": 0.9}
    layout: dict[str, Any] = {
        "meta": {"panels": len(couples)},
        "height": 330,
        "margin": {"r": 70},
        "coloraxis": {
            "colorscale": "Cividis",
            "cmin": min(values),
            "cmax": max(values),
            "colorbar": bar,
        },
    }
    traces = []
    for k, (across, down) in enumerate(couples):
        suffix = str(k + 1) if k else ""
        for axis, name, other in (("xaxis", across, "y"), ("yaxis", down, "x")):
            layout[f"{axis}{suffix}"] = {
                "title": {"text": axis_title(labels[name]), "standoff": 4},
                "anchor": f"{other}{suffix}",
                **({} if _many(done, name) else {"type": "category"}),
                "showgrid": False,
            }
        trace = _cells(done, across, down, labels)
        traces.append(trace.update(xaxis=f"x{suffix}", yaxis=f"y{suffix}"))
    return build(traces, title, sweep_scope(sweep), layout)


def _many(done: Sequence[Trial], name: str) -> bool:
    values = [t.params[name] for t in done if name in t.params]
    return numeric(values) and len(set(values)) > FEW


def _cells(done: Sequence[Trial], across: str, down: str, labels: Mapping[str, str]) -> Any:
    both = [t for t in done if across in t.params and down in t.params]
    if _many(done, across) or _many(done, down):
        return go.Scatter(
            x=[_shown(t.params[across]) for t in both],
            y=[_shown(t.params[down]) for t in both],
            mode="markers",
            marker={
                "color": [100 * objective(t) for t in both],
                "coloraxis": "coloraxis",
                "size": 7,
            },
            hovertext=[_hover(t, labels) for t in both],
            hoverinfo="text",
            showlegend=False,
        )
    cells: dict[tuple[Value, Value], list[float]] = {}
    for t in both:
        cells.setdefault((t.params[across], t.params[down]), []).append(100 * objective(t))
    columns, rows = (_ordered({cell[k] for cell in cells}) for k in (0, 1))
    names = [text_of(labels[field], LABEL) for field in (across, down)]
    grid = [[cells.get((x, y), []) for x in columns] for y in rows]
    return go.Heatmap(
        x=[str(_shown(v)) for v in columns],
        y=[str(_shown(v)) for v in rows],
        z=[[float(np.mean(of)) if of else None for of in row] for row in grid],
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        hovertext=[
            [f"mean {np.mean(of):.2f} % of {len(of)}" if of else "no trial" for of in row]
            for row in grid
        ],
        hovertemplate=f"{names[0]} %{{x}}<br>{names[1]} %{{y}}<br>%{{hovertext}}<extra></extra>",
    )


def _ordered(values: set[Value]) -> list[Value]:
    return sorted(values, key=float if numeric(list(values)) else str)


def _shown(value: Value) -> float | int | str:
    return value if numeric([value]) and not isinstance(value, str) else text_of(short(value), 14)
