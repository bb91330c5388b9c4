"""Common layout, colours and escaping of all figures.

Figures have transparent backgrounds, and the page sets the colours of text and grid lines, so that
figures follow its dark or light scheme. Texts of users (class names, errors) are escaped, because
Plotly reads a little HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ..labels import plotly_text

Figure = dict[str, Any]
"""A Plotly figure as its JSON form."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NEUTRAL = "#8A93A3"
AXIS = re.compile(r"[xy]axis[0-9]*")
_CLEAR = "rgba(0,0,0,0)"


def build_figure(
    traces: Sequence[object], title: str, subtitle: str, layout: Mapping[str, Any], note: str = ""
) -> Figure:
    """Return a figure in the common layout.

    Args:
        traces: Plotly traces.
        title: escaped title.
        subtitle: unescaped line below the title that says what the numbers were measured on.
        layout: entries that extend or replace the common layout.
        note: text in place of axes and traces, for a figure without data.
    """
    axis = {"zeroline": False, "automargin": True, "fixedrange": True}
    base: dict[str, Any] = {
        "template": go.layout.Template(),
        "title": {
            "text": title,
            "subtitle": {"text": plotly_text(subtitle, 400), "font": {"size": 12}},
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
    full = merge_layouts(merge_layouts(base, {"xaxis": {}, "yaxis": {}}), layout)
    full |= {k: {**v, **axis} for k, v in full.items() if AXIS.fullmatch(k)}
    if note:
        hidden = {"visible": False}
        full = merge_layouts(full, {"xaxis": hidden, "yaxis": hidden, "height": 180})
        middle = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
        full["annotations"] = [{"text": note, "font": {"size": 14}, **middle}]
    figure: Figure = json.loads(go.Figure(data=list(traces), layout=full).to_json())
    return figure


def merge_layouts(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the entries of `more`, merged key by key at every depth."""
    out = dict(base)
    for key, value in more.items():
        deeper = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge_layouts(out[key], value) if deeper else value
    return out
