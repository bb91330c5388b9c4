"""Frame of all pages: head, navigation, sections, and figures as data.

A page runs only scripts from files beside it: figures are embedded as data, and the
content-security policy forbids inline scripts and every other server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..figures.style import Figure
from .tables import escaped

MARK = '<meta name="generator" content="wsss report">'
# Plotly adds style attributes and elements, so inline styles are allowed; inline scripts are not.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
ASSETS = Path(__file__).parents[1] / "assets"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{mark}
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
{scripts}</head>
<body{data}>
<a class="skip" href="#main">Skip to the content</a>
<nav class="site" aria-label="Site"><ul>{site}</ul></nav>
<header id="header">{header}</header>
{nav}<main id="main">
{main}</main>
</body>
</html>
"""
SITE = (
    ("index.html", "Overview"),
    ("compare.html", "Compare"),
    ("papers.html", "Papers"),
    ("speed.html", "Speed"),
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Section of a page: `key` is its anchor, `title` text and `body` HTML."""

    key: str
    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Content of a page.

    Attributes:
        title: title of the browser window, as text.
        header: HTML above the sections.
        sections: sections from top to bottom.
        scripts: script files that the page needs beside `app.js`.
        data: (key, value) of the attributes `data-KEY` of the body.
    """

    title: str
    header: str
    sections: Sequence[Section]
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
    body = "".join(
        f'<section id="{s.key}" aria-labelledby="{s.key}-h">'
        f'<h2 id="{s.key}-h">{escaped(s.title)}</h2>\n{s.body}</section>\n'
        for s in page.sections
    )
    names = ["app.js", *page.scripts, *(["live.js"] if every else [])]
    data = [*page.data, *([("stamp", stamp), ("every", str(every))] if stamp else [])]
    return PAGE.format(
        policy=POLICY,
        mark=MARK,
        title=escaped(f"{page.title} · wsss"),
        scripts="".join(f'<script src="{name}" defer></script>\n' for name in names),
        data="".join(f' data-{key}="{escaped(value)}"' for key, value in data),
        site="".join(f'<li><a href="{f}">{n}</a></li>' for f, n in SITE if f in links),
        header=page.header,
        nav=_contents(page) if len(page.sections) > 1 else "",
        main=body or "<p>There is nothing to show yet.</p>\n",
    )


def _contents(page: Page) -> str:
    items = "".join(f'<li><a href="#{s.key}">{escaped(s.title)}</a></li>' for s in page.sections)
    return f'<nav class="sections" aria-label="Sections"><ul>{items}</ul></nav>\n'


def plot(figure: Figure) -> str:
    """Return a figure as HTML with its data in JSON, escaped so that no text ends the element."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    name = escaped(figure["layout"]["title"]["text"])
    height = figure["layout"].get("height", 400)
    return (
        f'<figure class="plot" aria-label="{name}" data-height="{height}">'
        f'<script type="application/json">{text}'
        "</script><noscript>Figures need scripts; the tables contain the numbers.</noscript>"
        "</figure>\n"
    )


def plots(figures: Sequence[Figure]) -> str:
    """Return figures as HTML, side by side where there is room."""
    return f'<div class="plots">{"".join(map(plot, figures))}</div>\n' if figures else ""


def command_lines(lines: Sequence[str]) -> str:
    """Return command lines as HTML; empty lines and repetitions are left out."""
    text = "\n".join(dict.fromkeys(line for line in lines if line))
    return f'<pre class="command" tabindex="0"><code>{escaped(text)}</code></pre>\n' if text else ""


def status_pill(status: str) -> str:
    """Return a status as HTML, in words and colour."""
    kinds = {"done": "good", "computed": "good", "running": "live"}
    kinds |= dict.fromkeys(("failed", "stopped", "damaged"), "bad")
    kind = kinds.get(status, "plain")
    return f'<span class="pill {kind}">{escaped(status)}</span>'


def link(file: str, text: str) -> str:
    """Return a link to a page of the site as HTML."""
    return f'<a href="{escaped(file)}">{escaped(text)}</a>'
