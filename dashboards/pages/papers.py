"""The result tables of the five papers, as data with their source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from .layout import ASSETS, Page, Section
from .tables import Cell, definitions, table, word

STAGES = {
    "seed": "seed, train",
    "crf": "+ CRF, train",
    "refined": "refined, train",
    "val": "segmenter, val",
    "test": "segmenter, test",
    "coco": "segmenter, COCO val",
}
"""What the papers measure: seeds and labels on VOC 2012 train, segmenters on VOC and COCO."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A line of the leaderboard: `figures` in percent by stage, `sources` where each is from."""

    method: str
    on: str
    figures: dict[str, float]
    sources: str


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ASSETS / "papers.json").read_text(encoding="utf-8"))
    return found


def tables() -> list[dict[str, Any]]:
    """All tables: `paper`, `table` (its number), `caption`, `columns`, `rows`."""
    return list(_data()["tables"])


def leaderboard() -> list[Published]:
    """What the five papers say of the methods here."""
    out = []
    for line in _data()["leaderboard"]:
        cells = line["figures"]
        cited: dict[str, list[str]] = {}
        for _, paper, number in cells.values():
            if number not in cited.setdefault(paper, []):
                cited[paper].append(number)
        out.append(
            Published(
                method=line["method"],
                on=line["on"],
                figures={stage: value for stage, (value, _, _) in cells.items()},
                sources="; ".join(
                    f"{p.upper()} paper, Table {', '.join(t)}" for p, t in cited.items()
                ),
            )
        )
    return out


def papers_page() -> Page:
    """All tables of the papers."""
    sections = []
    for key, paper in _data()["papers"].items():
        facts = [
            ("authors", paper["authors"]),
            ("where", paper["venue"]),
            ("title", paper["title"]),
        ]
        body = definitions(facts)
        for t in tables():
            if t["paper"] == key:
                rows = [[_cell(v) for v in row] for row in t["rows"]]
                caption = f"Table {t['table']}: {t['caption']}"
                body += table(caption, t["columns"], rows, sortable=True)
        sections.append(Section(key=key, title=key.upper(), body=body))
    header = (
        "<h1>What the papers report</h1>\n<p class='note'>Percent, as printed: PASCAL VOC 2012 and "
        "MS COCO 2014. Reference numbers in brackets are those of the paper that has the table.</p>"
    )
    return Page(title="Papers", header=header, sections=sections)


def _cell(value: object) -> Cell:
    if isinstance(value, float | int):
        return Cell(text=f"{value}", value=value)
    return Cell(text="–", value=-1.0) if value is None else word(value)
