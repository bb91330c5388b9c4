"""Pages that scripts fill in the browser: the images of a run, and two runs compared."""

from __future__ import annotations

from collections.abc import Sequence

from ...platform.records.schema import RunRecord
from ..content.gallery import splits_with_pictures
from ..figures.style import build_figure
from ..labels import method_title
from .layout import Header, Link, Page, Section, facts_with_values


def images_page(run: RunRecord, others: bool) -> Page:
    """Return the page of a run's images and their layers.

    Args:
        run: the run.
        others: whether the site has other runs to compare with.
    """
    links = [Link(file=f"run.{run.name}.html", text="Run page")]
    if others and any(run.scores.values()):
        links.append(Link(file=f"compare.html?a={run.name}", text="Compare with another run"))
    header = Header(
        title=f"Images of {run.name}",
        facts=facts_with_values([("method", method_title(run.method)), ("data set", run.dataset)]),
        links=links,
    )
    return Page(
        template="images.html",
        title=header.title,
        header=header,
        sections=[Section(key="images", title="Images")],
        content=splits_with_pictures(run),
        scripts=("planes.js", "images.js"),
        data=(("run", run.name),),
    )


def compare_page(runs: Sequence[RunRecord]) -> Page:
    """Return the page that compares two runs, named in its address or chosen by the reader.

    Args:
        runs: runs that have scores.
    """
    layout = {
        "height": 400,
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"title": {"text": "IoU %"}},
        "yaxis": {"showgrid": False},
    }
    figure = build_figure([], "IoU by class of two runs", "no runs chosen yet", layout)
    return Page(
        template="compare.html",
        title="Compare runs",
        header=Header(title="Comparison of two runs"),
        sections=[
            Section(key="classes", title="Classes", content=figure),
            Section(key="images", title="Images"),
        ],
        content=[run.name for run in runs],
        scripts=("planes.js", "compare.js"),
    )
