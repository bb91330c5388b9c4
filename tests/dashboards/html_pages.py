"""Readers of the pages and data files of a site."""

from __future__ import annotations

import json
from html.parser import HTMLParser


class Document(HTMLParser):
    """Elements of a page and the files that they name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def files(self) -> list[str]:
        names = [a.get("src") or a.get("href") for t, a in self.tags]
        return [n.partition("?")[0] for n in names if n and not n.startswith(("#", "data:"))]


def value_of(script: bytes | str | None) -> object:
    """Return the value that a script adds."""
    text = script.decode() if isinstance(script, bytes) else script or ""
    return json.loads("[" + text.removeprefix("wsss.add(").removesuffix(");\n") + "]")[2]
