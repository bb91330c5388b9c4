"""What all figures share: colours, the line that says what a number means, layout, escaping.

Nothing here names a page colour: backgrounds are transparent, and the page sets ink and grid
lines, so that figures follow its dark or light look. Text of a user's (class names, errors) is
escaped, because Plotly reads a little HTML.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ..platform.runs import Score, SweepRecord, Trial

Figure = dict[str, Any]
Value = float | int | str | bool

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NEUTRAL = "#8A93A3"
AXIS = re.compile(r"[xy]axis[0-9]*")
LABEL = 34
"""Most characters of a parameter's label; `host.segment.training.weight_decay` fits."""
_CLEAR = "rgba(0,0,0,0)"


def scope(score: Score, whose: str) -> str:
    """Which images, how many, how many classes, by which rule, of which run or sweep: what a
    number means."""
    return f"{score.split} · {score.n:,} images · {classes_of(score)} · {score.rule} · {whose}"


def classes_of(score: Score) -> str:
    """How many classes the means run over."""
    foreground = sum(c > 0 for c in score.scored)
    background = " and background" if 0 in score.scored else ""
    return f"{foreground} class{'es' * (foreground != 1)}{background}"


def sweep_scope(sweep: SweepRecord) -> str:
    """`scope` of a sweep's objective, with how many of its trials are done."""
    scores = [t.score for t in sweep.trials if t.score is not None]
    done = sum(is_done(t) for t in sweep.trials)
    count = f"{done} of {len(sweep.trials)} trials done"
    if scores:
        return f"{scope(scores[0], sweep.name)} · {count}"
    return f"{sweep.split} · no image scored, so no n, classes or rule · {sweep.name} · {count}"


def build(
    traces: Sequence[Any], title: str, subtitle: str, layout: Mapping[str, Any], note: str = ""
) -> Figure:
    """The figure of `traces` as a plain dict; `note` stands in its place where it is empty."""
    axis = {"zeroline": False, "automargin": True, "fixedrange": True}
    base: dict[str, Any] = {
        "template": go.layout.Template(),
        "title": {
            "text": title,
            "subtitle": {"text": text_of(subtitle, 400), "font": {"size": 12}},
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 4, "t": 16},
            "font": {"size": 14},
        },
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"size": 12},
        "margin": {"l": 8, "r": 12, "t": 76, "b": 8},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    }
    whole = merged(merged(base, {"xaxis": {}, "yaxis": {}}), layout)
    whole |= {k: {**v, **axis} for k, v in whole.items() if AXIS.fullmatch(k)}
    if note:
        hidden = {"visible": False}
        whole = merged(whole, {"xaxis": hidden, "yaxis": hidden, "height": 180})
        place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
        whole["annotations"] = [{"text": note, "font": {"size": 14}, **place}]
    plain: Figure = json.loads(go.Figure(data=list(traces), layout=whole).to_json())
    return plain


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `more` says, key by key at every depth."""
    out = dict(base)
    for key, value in more.items():
        deeper = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if deeper else value
    return out


def is_done(trial: Trial) -> bool:
    """Whether a trial went to its end with a finite result; one that was stopped did not."""
    return trial.status == "done" and trial.value is not None and math.isfinite(trial.value)


def objective(trial: Trial) -> float:
    """The objective of a trial that is done."""
    assert trial.value is not None
    return trial.value


def drawable(value: Any) -> Value:
    """A parameter's value as axes take it: what is no number, text or truth value as text."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, float | int | str) else str(value)


def drawable_sweep(sweep: SweepRecord) -> SweepRecord:
    """The sweep with `drawable` values."""

    def plain(params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: drawable(value) for name, value in params.items()}

    return dataclasses.replace(
        sweep,
        space={name: [drawable(v) for v in values] for name, values in sweep.space.items()},
        default=plain(sweep.default),
        trials=tuple(dataclasses.replace(t, params=plain(t.params)) for t in sweep.trials),
    )


def axis_title(label: str) -> str:
    """A parameter's label as the title of an axis: `segment.training.lr` on three lines."""
    return text_of(label, LABEL).replace(".", ".<br>", 2)


def params_text(trial: Trial, labels: Mapping[str, str]) -> list[str]:
    """The parameters of a trial as lines of a hover text, by their labels."""
    return [
        f"{text_of(labels[field], LABEL)} {text_of(short(value), 20)}"
        for field, value in trial.params.items()
    ]


def numeric(values: Sequence[Value]) -> bool:
    """Whether all values are numbers (a bool is none)."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def short(value: Value) -> str:
    """A value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text_of(value: object, limit: int = 120) -> str:
    """Text that Plotly shows as it is: control characters gone, HTML escaped, cut at `limit`."""
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    if len(plain) > limit:
        plain = plain[: limit - 1] + "…"
    return html.escape(plain, quote=False)
