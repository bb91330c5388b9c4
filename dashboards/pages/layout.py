"""What all pages share: the frame, sections, figures as data.

Nothing in a page runs that is not in a file beside it: figures are data, and the
content-security policy forbids inline scripts and every other host.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..figures.style import Figure
from .tables import esc

MARK = '<meta name="generator" content="wsss report">'
# Plotly sets style attributes and elements of its own; scripts have no such exception.
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
    """A part of a page: `key` is its anchor, `body` HTML."""

    key: str
    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page before it is written.

    Attributes:
        title: text.
        header: HTML below the title, which `heading` makes.
        sections: from top to bottom.
        scripts: files that the page needs beside `app.js`.
        data: attributes of the body, `data-KEY`.
    """

    title: str
    header: str
    sections: Sequence[Section]
    scripts: Sequence[str] = ()
    data: Sequence[tuple[str, str]] = ()


def render(page: Page, stamp: str | None, every: int, links: Sequence[str]) -> str:
    """The page as HTML.

    Args:
        page: what to show.
        stamp: of the state that it shows, where it follows the store.
        every: milliseconds between two looks at the store, where a server makes it; else 0.
        links: the files of SITE that there are.
    """
    body = "".join(
        f'<section id="{s.key}" aria-labelledby="{s.key}-h"><h2 id="{s.key}-h">{esc(s.title)}</h2>'
        f"\n{s.body}</section>\n"
        for s in page.sections
    )
    names = ["app.js", *page.scripts, *(["live.js"] if every else [])]
    data = [*page.data, *([("stamp", stamp), ("every", str(every))] if stamp else [])]
    return PAGE.format(
        policy=POLICY,
        mark=MARK,
        title=esc(f"{page.title} · wsss"),
        scripts="".join(f'<script src="{name}" defer></script>\n' for name in names),
        data="".join(f' data-{key}="{esc(value)}"' for key, value in data),
        site="".join(f'<li><a href="{f}">{n}</a></li>' for f, n in SITE if f in links),
        header=page.header,
        nav=_contents(page) if len(page.sections) > 1 else "",
        main=body or "<p>There is nothing to show yet.</p>\n",
    )


def _contents(page: Page) -> str:
    items = "".join(f'<li><a href="#{s.key}">{esc(s.title)}</a></li>' for s in page.sections)
    return f'<nav class="sections" aria-label="Sections"><ul>{items}</ul></nav>\n'


def plot(figure: Figure) -> str:
    """A figure as data: JSON in which no character can end the element."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    name = esc(figure["layout"]["title"]["text"])
    height = figure["layout"].get("height", 400)
    return (
        f'<figure class="plot" aria-label="{name}" data-height="{height}">'
        f'<script type="application/json">{text}'
        "</script><noscript>Figures need scripts; the tables hold the numbers.</noscript>"
        "</figure>\n"
    )


def plots(figures: Sequence[Figure]) -> str:
    """Figures side by side where there is room."""
    return f'<div class="plots">{"".join(map(plot, figures))}</div>\n' if figures else ""


def command_lines(lines: Sequence[str]) -> str:
    """The commands that made something."""
    text = "\n".join(dict.fromkeys(line for line in lines if line))
    return f'<pre class="command" tabindex="0"><code>{esc(text)}</code></pre>\n' if text else ""


def pill(status: str) -> str:
    """A state in colour and words."""
    kinds = {"done": "good", "computed": "good", "running": "live"}
    kinds |= dict.fromkeys(("failed", "stopped", "damaged"), "bad")
    kind = kinds.get(status, "plain")
    return f'<span class="pill {kind}">{esc(status)}</span>'


def link(file: str, text: str) -> str:
    """A link to a page of the site."""
    return f'<a href="{esc(file)}">{esc(text)}</a>'
