"""Figures of a sweep's search: parameter importance, optimization history, parameter pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ...platform.records.field_labels import short_text
from ...platform.records.schema import SweepRecord, Trial
from ...platform.tuning.ranking import ranking
from ..labels import (
    LABEL_LENGTH,
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
from .partial_dependence import FEW_VALUES, is_continuous, is_logarithmic
from .style import COLOURS, NEUTRAL, Figure, build_figure

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import InMemoryStorage
    from plotly.basedatatypes import BasePlotlyType

PAIRED_PARAMETERS = 5
"""Number of most important parameters whose pairs are drawn."""


def importances(sweep: SweepRecord) -> dict[str, float]:
    """Return the importance of each parameter for being among the best points, highest first.

    Importances sum to 1; the result is empty where the points have no difference to explain. A
    point counts by the mean of its finished trials, so that random seeds are no difference between
    points. Parameters that some points lack, because a choice of groups left them out, have none.
    Computed by Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023).
    """
    points = ranking(sweep.trials)
    first = [point.trials[0] for point in points]
    shared = [n for n in sweep.space if all(n in t.params for t in first)]
    varied = [n for n in shared if len({value_of(t, n) for t in first}) > 1]
    if len({point.mean for point in points}) < 2 or not varied:
        return {}
    import optuna

    study = optuna.create_study(direction="maximize", storage=_silent_storage())
    spaces = {n: _distribution([value_of(t, n) for t in first], sweep.space[n]) for n in varied}
    for point, t in zip(points, first, strict=True):
        params = {n: value_of(t, n) for n in varied}
        trial = optuna.trial.create_trial(params=params, distributions=spaces, value=point.mean)
        study.add_trial(trial)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def _silent_storage() -> InMemoryStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.InMemoryStorage()


def _distribution(values: Sequence[Value], domain: object) -> BaseDistribution:
    """Return what Optuna takes for the domain of a parameter that has some values."""
    from optuna import distributions

    distinct = sorted(set(values), key=str)
    if are_numbers(values) and len(distinct) > FEW_VALUES:
        low, high = min(map(float, values)), max(map(float, values))
        return distributions.FloatDistribution(low, high, log=is_logarithmic(domain) and low > 0)
    return distributions.CategoricalDistribution(distinct)


def importance(sweep: SweepRecord, shares: Mapping[str, float]) -> Figure:
    """Draw the importances of parameters as bars.

    Args:
        sweep: the sweep.
        shares: result of `importances`.
    """
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
            "ticktext": [plotly_text(labels[n], LABEL_LENGTH) for n in names],
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
        },
        "bargap": 0.35,
    }
    title = "Importance of each parameter for the best points, % (PED-ANOVA)"
    note = "" if names else "Too few finished trials"
    return build_figure([bars] if names else [], title, sweep_scope(sweep), layout, note)


def history(sweep: SweepRecord) -> Figure:
    """Draw the mIoU of each trial in the order of the trials, and the highest mIoU so far.

    Failed and stopped trials are marked at the lower edge.
    """
    done = [(k, 100 * objective(t), t) for k, t in enumerate(sweep.trials) if is_done(t)]
    if not sweep.trials:
        return build_figure([], "Optimization history", sweep_scope(sweep), {}, "No trial yet")
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
    unfinished = [(k, t) for k, t in enumerate(sweep.trials) if not is_done(t)]
    failed = go.Scatter(
        x=[k for k, _ in unfinished],
        y=[floor] * len(unfinished),
        mode="markers",
        marker={"color": NEUTRAL, "size": 7, "symbol": "x"},
        name="failed or stopped",
        hovertext=[_hover(t, labels) for _, t in unfinished],
        hoverinfo="text",
    )
    layout = {
        "height": 360,
        "xaxis": {"title": {"text": "position among the trials", "standoff": 6}},
        "yaxis": {"title": {"text": "best mIoU %", "standoff": 4}},
    }
    traces = [points, best, *([failed] if unfinished else [])]
    return build_figure(traces, "Optimization history", sweep_scope(sweep), layout)


def _hover(trial: Trial, labels: Mapping[str, str]) -> str:
    result = f"{100 * objective(trial):.2f} %" if is_done(trial) else trial.status
    head = f"trial {plotly_text(trial.id, 20)}: {plotly_text(result)}"
    return "<br>".join([head, *params_text(trial, labels)])


def pairs(sweep: SweepRecord, shares: Mapping[str, float]) -> Figure:
    """Draw a panel for each pair of the PAIRED_PARAMETERS most important parameters.

    A pair of parameters with at most FEW_VALUES values each makes a heat map of the mean objective
    over all other parameters; any other pair makes a point for each trial.

    Args:
        sweep: the sweep.
        shares: result of `importances`.
    """
    title = "Pairs of parameters: mean of the best mIoU %"
    done = [t for t in sweep.trials if is_done(t)]
    couples = list(itertools.combinations(list(shares)[:PAIRED_PARAMETERS], 2))
    if not couples:
        return build_figure([], title, sweep_scope(sweep), {}, "Fewer than two parameters vary")
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
                **({} if is_continuous(done, name) else {"type": "category"}),
                "showgrid": False,
            }
        trace = _cells(done, across, down, labels)
        traces.append(trace.update(xaxis=f"x{suffix}", yaxis=f"y{suffix}"))
    return build_figure(traces, title, sweep_scope(sweep), layout)


def _cells(
    done: Sequence[Trial], across: str, down: str, labels: Mapping[str, str]
) -> BasePlotlyType:
    trials = [t for t in done if across in t.params and down in t.params]
    if is_continuous(done, across) or is_continuous(done, down):
        return go.Scatter(
            x=[_axis_value(value_of(t, across)) for t in trials],
            y=[_axis_value(value_of(t, down)) for t in trials],
            mode="markers",
            marker={
                "color": [100 * objective(t) for t in trials],
                "coloraxis": "coloraxis",
                "size": 7,
            },
            hovertext=[_hover(t, labels) for t in trials],
            hoverinfo="text",
            showlegend=False,
        )
    cells: dict[tuple[Value, Value], list[float]] = {}
    for t in trials:
        cells.setdefault((value_of(t, across), value_of(t, down)), []).append(100 * objective(t))
    columns, rows = (_sorted({cell[k] for cell in cells}) for k in (0, 1))
    names = [plotly_text(labels[field], LABEL_LENGTH) for field in (across, down)]
    grid = [[cells.get((x, y), []) for x in columns] for y in rows]
    return go.Heatmap(
        x=_category_names(columns),
        y=_category_names(rows),
        z=[[float(np.mean(values)) if values else None for values in row] for row in grid],
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        hovertext=[
            [
                f"mean of {len(values)}: {np.mean(values):.2f} %" if values else "no trial"
                for values in row
            ]
            for row in grid
        ],
        hovertemplate=f"{names[0]} %{{x}}<br>{names[1]} %{{y}}<br>%{{hovertext}}<extra></extra>",
    )


def _sorted(values: set[Value]) -> list[Value]:
    return sorted(values, key=float if are_numbers(list(values)) else str)


def _category_names(values: list[Value]) -> list[str]:
    """Return a name for each value, shortened where all names stay different."""
    short = [plotly_text(short_text(value), 14) for value in values]
    return short if len({*short}) == len(short) else [str(_axis_value(v)) for v in values]


def _axis_value(value: Value) -> float | int | str:
    return (
        value
        if are_numbers([value]) and not isinstance(value, str)
        else plotly_text(short_text(value), 14)
    )
