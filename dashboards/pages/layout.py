"""Content of a page as data, and its rendering by the templates in `dashboards/templates`.

A page runs only scripts from files beside it: figures are embedded as data, and the
content-security policy forbids inline scripts and every other server. Every text that a template
inserts is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

# Plotly adds style attributes and elements, so inline styles are allowed; inline scripts are not.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
ASSETS = Path(__file__).parents[1] / "assets"
SITE = (
    ("index.html", "Overview"),
    ("compare.html", "Compare"),
    ("papers.html", "Papers"),
    ("speed.html", "Speed"),
)
KINDS = {
    "done": "good",
    "computed": "good",
    "running": "live",
    "failed": "bad",
    "stopped": "bad",
    "damaged": "bad",
}
"""Colour of the pill of a status: good, live, bad, or plain for any other status."""


def printable(value: Any) -> Any:
    """Return a text with a space in place of each control character but the line feed."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else " " for c in value)


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=printable,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}


@dataclass(frozen=True, kw_only=True)
class Link:
    """Link to a page of the site."""

    file: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Pill:
    """Status in words and colour: `kind` is good, live, bad or plain."""

    text: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Going:
    """Current step of an unfinished run or sweep.

    Attributes:
        text: the step in words.
        share: share of the step that is done, 0 to 1.
        label: name of the progress bar for screen readers.
    """

    text: str
    share: float
    label: str


@dataclass(frozen=True, kw_only=True)
class FigureInFile:
    """Figure that the page loads when it is drawn, from a script that adds it under a name.

    Attributes:
        file: path of the script.
        name: name under which the script adds the figure.
        title: title of the figure.
        height: height in pixels before the figure is drawn.
    """

    file: str
    name: str
    title: str
    height: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """Content of the header of a page.

    Attributes:
        title: title of the page.
        state: status of the run or sweep, if it has not ended as planned.
        going: current step of an unfinished run or sweep.
        facts: names with their values.
        links: links to other pages of the same run or sweep.
        command: the command line that started the run or sweep; empty where there is none.
    """

    title: str
    state: Pill | None = None
    going: Going | None = None
    facts: Sequence[tuple[str, str]] = ()
    links: Sequence[Link] = ()
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Section of a page: `key` is its anchor, and the template of the page shows `content`."""

    key: str
    title: str
    content: object = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Content of a page.

    Attributes:
        template: file of the page's template.
        title: title of the browser window.
        header: content above the sections.
        sections: sections from top to bottom.
        content: further content, which only the template of this page knows.
        scripts: script files that the page needs beside those of all pages.
        data: (key, value) of the attributes `data-KEY` of the body.
    """

    template: str
    title: str
    header: Header
    sections: Sequence[Section]
    content: object = None
    scripts: Sequence[str] = ()
    data: Sequence[tuple[str, str]] = ()


def render(page: Page, stamp: str | None, every: int, links: Sequence[str]) -> str:
    """Return a page as HTML.

    Args:
        page: content of the page.
        stamp: stamp of the records that the page was made from; None for a page that does not
            follow the store.
        every: milliseconds after which the page asks for its stamp again; 0 without a server.
        links: files of SITE that exist.
    """
    return TEMPLATES.get_template(page.template).render(
        page=page,
        policy=POLICY,
        scripts=["tables.js", "app.js", *page.scripts, *(["live.js"] if every else [])],
        data=[*page.data, *([("stamp", stamp), ("every", every)] if stamp else [])],
        site=[Link(file=file, text=text) for file, text in SITE if file in links],
    )


def facts_with_values(rows: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    """Return names with their values as text; a name without a value is left out."""
    return [(name, str(value)) for name, value in rows if value not in ("", None)]


def status_pill(status: str) -> Pill:
    """Return a status with its colour."""
    return Pill(text=status, kind=KINDS.get(status, "plain"))


def pill_unless_done(status: str) -> Pill | None:
    """Return the pill of a status other than done."""
    return None if status == "done" else status_pill(status)
