"""What all figures share: colours, the line that says what a number means, layout, escaping.

Nothing here names a page colour: backgrounds are transparent, and the page sets ink and grid
lines, so that figures follow its dark or light look. Text of a user's (class names, errors) is
escaped, because Plotly reads a little HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ..labels import text_of

Figure = dict[str, Any]


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NEUTRAL = "#8A93A3"
AXIS = re.compile(r"[xy]axis[0-9]*")


_CLEAR = "rgba(0,0,0,0)"


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
