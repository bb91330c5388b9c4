"""Pages that scripts fill in the browser: the images of a run, and two runs compared."""

from __future__ import annotations

from collections.abc import Sequence

from ...platform.records.schema import RunRecord
from ..content.gallery import splits_with_pictures
from ..figures.style import build_figure
from ..labels import method_title
from .layout import Page, Section, link, plot
from .tables import definition_list, escaped

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
    """Return the page of a run's images and their layers.

    Args:
        run: the run.
        others: whether the site has other runs to compare with.
    """
    options = "".join(
        f'<option value="{escaped(s)}">{escaped(s)}</option>' for s in splits_with_pictures(run)
    )
    body = f"""<form class="controls" aria-label="Images and layers to display">
<label>Split <select name="split">{options}</select></label>
<label>Scores of <select name="judge"></select></label>
<label>Order <select name="order"></select></label>
<label>Class <select name="class"></select></label>
<label>Main error <select name="error"></select></label>
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
    links = [link(f"run.{run.name}.html", "Run page")]
    links += [link(f"compare.html?a={run.name}", "Compare with another run")] if others else []
    header = (
        f"<h1>Images of {escaped(run.name)}</h1>\n"
        f"{definition_list([('method', method_title(run.method)), ('data set', run.dataset)])}"
        f'<p class="links">{" · ".join(links)}</p>\n'
        '<p class="note">Enter opens an image. In the viewer, ← and → change the image, [ and ] '
        "the seed threshold, 1 to 9 switch layers, and Escape closes the viewer.</p>\n"
    )
    return Page(
        title=f"Images of {run.name}",
        header=header,
        sections=[Section(key="images", title="Images", body=body)],
        scripts=("planes.js", "images.js"),
        data=(("run", run.name),),
    )


def compare_page(runs: Sequence[RunRecord]) -> Page:
    """Return the page that compares two runs, named in its address or chosen by the reader.

    Args:
        runs: runs that have scores.
    """
    options = "".join(f'<option value="{escaped(r.name)}">{escaped(r.name)}</option>' for r in runs)
    layout = {
        "height": 400,
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"title": {"text": "IoU %"}},
        "yaxis": {"showgrid": False},
    }
    frame = plot(build_figure([], "IoU by class of two runs", "no runs chosen yet", layout))
    choices = "".join(
        f"<fieldset><legend>{side.upper()}</legend>"
        f'<label>Run <select name="{side}">{options}</select></label>'
        f'<label>Result <select name="{side}-of"></select></label></fieldset>'
        for side in ("a", "b")
    )
    body = f'<form class="controls" aria-label="Results to compare">{choices}</form>\n{frame}'
    body += '<div id="differences"></div>' + NO_SCRIPT
    images = (
        '<p class="note" id="pair-scope"></p><h3>Largest gains</h3><div class="grid" id="gained" '
        'role="list"></div><h3>Largest losses</h3><div class="grid" id="lost" role="list"></div>'
        f"{VIEWER}"
    )
    header = (
        "<h1>Comparison of two runs</h1>\n<p class='note'>Classes are matched by name. Images are "
        "compared where both runs have scores of them on the same split.</p>"
    )
    return Page(
        title="Compare runs",
        header=header,
        sections=[
            Section(key="classes", title="Classes", body=body),
            Section(key="images", title="Images", body=images),
        ],
        scripts=("planes.js", "compare.js"),
    )
