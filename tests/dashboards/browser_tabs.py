"""Tabs of a browser whose pages may have no fault and ask nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from limits import HANG

Visit = tuple[Any, list[str]]
UNUSED: list[Any] = []
"""Tabs of files that no test uses now."""


def until(page: Any, condition: str) -> None:
    """Wait for a condition; Playwright's own wait needs eval, which the page's policy forbids."""
    for _ in range(10 * HANG):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {condition}")


DRAWN = (
    "document.querySelectorAll('figure.plot').length === "
    "document.querySelectorAll('.js-plotly-plot .main-svg:first-child').length"
)


def is_wrong(message: Any) -> bool:
    """Return whether a console message is a fault of the page, not of a test's canvas reading."""
    from_test = message.text.startswith("Canvas2D: Multiple readback operations")
    return message.type in ("error", "warning") and not from_test


@contextlib.contextmanager
def tab(browser: Any, own: str, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """Take a tab; yield it and the list that receives the faults of the pages in it.

    A fault is an error, a warning, or a request to an address that does not begin with `own`. A tab
    of files is taken again by a later test, because it has compiled the scripts of the report."""
    page = UNUSED.pop() if UNUSED and own.startswith("file:") else browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.set_default_timeout(1000 * HANG)
    faults: list[str] = []
    allowed = ("data:", "blob:", own)
    listeners = {
        "console": lambda m: faults.append(m.text) if is_wrong(m) else None,
        "pageerror": lambda e: faults.append(str(e)),
        "dialog": lambda d: (faults.append("a script ran"), d.dismiss()),
        "request": lambda r: None if r.url.startswith(allowed) else faults.append(r.url),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    yield page, faults
    assert faults == []
    if not own.startswith("file:"):
        page.close()  # it asks its server for news
        return
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    UNUSED.append(page)


@contextlib.contextmanager
def visit(browser: Any, url: str, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """Open a page in a tab of its own, see `tab`, and wait until its figures are drawn."""
    own = url[: url.index("/", 8) + 1] if url.startswith("http") else "file:"
    with tab(browser, own, width, scheme) as (page, faults):
        page.goto(url)
        until(page, DRAWN)
        yield page, faults
