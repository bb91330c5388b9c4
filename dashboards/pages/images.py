"""The pages that the browser fills itself: a run's images, and two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ...platform.records.schema import RunRecord
from ..content.gallery import pictured
from ..figures.style import build
from ..labels import label
from .layout import Page, Section, link, plot
from .tables import definitions, esc

NO_SCRIPT = "<noscript>This page needs scripts.</noscript>"
VIEWER = """<dialog id="viewer" aria-labelledby="viewer-title">
<div class="bar"><h2 id="viewer-title"></h2>
<button type="button" data-do="previous" aria-label="Previous image">←</button>
<button type="button" data-do="next" aria-label="Next image">→</button>
<button type="button" data-do="close" aria-label="Close">✕</button></div>
<div class="view"><div class="stage"></div><form class="panel"></form></div>
</dialog>
"""


def images_page(run: RunRecord, others: bool) -> Page:
    """All images of a run as layers; the scripts fill it. `others`: whether there are runs to
    compare it with."""
    options = "".join(f'<option value="{esc(s)}">{esc(s)}</option>' for s in pictured(run))
    body = f"""<form class="controls" aria-label="Which images, and how">
<label>Split <select name="split">{options}</select></label>
<label>Judged by <select name="judge"></select></label>
<label>Order <select name="order"></select></label>
<label>Class <select name="class"></select></label>
<label>Error <select name="error"></select></label>
<fieldset><legend>Layers</legend></fieldset>
<label>Opacity <input type="range" name="opacity" min="0" max="100" value="65"></label>
<label>Size <input type="range" name="size" min="110" max="460" value="200"></label>
<span class="pager"><button type="button" data-do="back">←</button>
<output name="place"></output>
<button type="button" data-do="on">→</button></span>
</form>
<p class="note" id="scope"></p>
<div class="grid" role="list"></div>
{NO_SCRIPT}{VIEWER}"""
    links = [link(f"run.{run.name}.html", "The run")]
    links += [link(f"compare.html?a={run.name}", "Compare with another run")] if others else []
    header = (
        f"<h1>Images of {esc(run.name)}</h1>\n"
        f"{definitions([('method', label(run.method)), ('data set', run.dataset)])}"
        f'<p class="links">{" · ".join(links)}</p>\n'
        '<p class="note">Enter opens an image. Then: ← → other images, [ ] the seed threshold, '
        "1 to 9 layers, Escape closes.</p>\n"
    )
    return Page(
        title=f"Images of {run.name}",
        header=header,
        sections=[Section(key="images", title="Images", body=body)],
        scripts=("planes.js", "images.js"),
        data=(("run", run.name),),
    )


def compare_page(runs: Sequence[RunRecord]) -> Page:
    """Two runs side by side; the scripts fill it with those that the address or reader names."""
    options = "".join(f'<option value="{esc(r.name)}">{esc(r.name)}</option>' for r in runs)
    layout = {
        "height": 400,
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"title": {"text": "IoU %, and points gained"}},
        "yaxis": {"showgrid": False},
    }
    frame = plot(build([], "IoU by class of two runs", "choose two runs", layout))
    chosen = "".join(
        f"<fieldset><legend>{side.upper()}</legend>"
        f'<label>Run <select name="{side}">{options}</select></label>'
        f'<label>Of <select name="{side}-of"></select></label></fieldset>'
        for side in ("a", "b")
    )
    body = f'<form class="controls" aria-label="What to compare">{chosen}</form>\n{frame}'
    body += '<div id="differences"></div>' + NO_SCRIPT
    gained = (
        '<p class="note" id="pair-scope"></p><h3>Gained most</h3><div class="grid" id="gained" '
        'role="list"></div><h3>Lost most</h3><div class="grid" id="lost" role="list"></div>'
        f"{VIEWER}"
    )
    header = (
        "<h1>Two runs side by side</h1>\n<p class='note'>Classes are compared by name, images "
        "where both runs have them on the same split.</p>"
    )
    return Page(
        title="Compare",
        header=header,
        sections=[
            Section(key="classes", title="Classes", body=body),
            Section(key="images", title="Images", body=gained),
        ],
        scripts=("planes.js", "compare.js"),
    )
