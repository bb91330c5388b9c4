"""Result tables and leaderboard of the five papers, with the source of every number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..tables import Cell, Table, text_cell
from .layout import ASSETS, Header, Page, Section, facts_with_values

STAGES = {
    "seed": "seed, train",
    "crf": "+ CRF, train",
    "refined": "refined, train",
    "val": "segmenter, val",
    "test": "segmenter, test",
    "coco": "segmenter, COCO val",
}
"""Column titles of the leaderboard by stage. The papers score seeds and labels on VOC 2012 train,
segmenters on VOC 2012 and COCO 2014."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Row of the leaderboard from a paper.

    Attributes:
        method: name of the method.
        builds_on: what the method builds on: baseline, refinement, backbone.
        figures: mIoU in percent by stage.
        sources: papers and tables that the numbers come from.
    """

    method: str
    builds_on: str
    figures: dict[str, float]
    sources: str


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Section of a paper: facts about the paper and its tables."""

    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ASSETS / "papers.json").read_text(encoding="utf-8"))
    return data


def tables() -> list[dict[str, Any]]:
    """Return all tables as dicts of `paper`, `table` (its number), `caption`, `columns`, `rows`."""
    return list(_data()["tables"])


def leaderboard() -> list[Published]:
    """Return the rows that the papers report for the methods of this package."""
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
                builds_on=line["on"],
                figures={stage: value for stage, (value, _, _) in cells.items()},
                sources="; ".join(
                    f"{p.upper()} paper, Table {', '.join(t)}" for p, t in cited.items()
                ),
            )
        )
    return out


def papers_page() -> Page:
    """Return the page with all tables of the papers."""
    sections = []
    for key, paper in _data()["papers"].items():
        content = Paper(
            facts=facts_with_values((name, paper[name]) for name in ("authors", "venue", "title")),
            tables=[_table(t) for t in tables() if t["paper"] == key],
        )
        sections.append(Section(key=key, title=key.upper(), content=content))
    return Page(
        template="papers.html",
        title="Papers",
        header=Header(title="Results of the papers"),
        sections=sections,
    )


def _table(printed: dict[str, Any]) -> Table:
    caption = f"Table {printed['table']}: {printed['caption']}"
    rows = [[_cell(value) for value in row] for row in printed["rows"]]
    return Table(caption=caption, head=printed["columns"], rows=rows, sortable=True)


def _cell(value: object) -> Cell:
    if isinstance(value, float | int):
        return Cell(text=f"{value}", value=value)
    return Cell(text="–", value=-1.0) if value is None else text_cell(value)
