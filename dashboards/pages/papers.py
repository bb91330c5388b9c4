"""Page with the result tables of the papers of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..published import papers, tables
from ..tables import Cell, Table, text_cell
from .layout import Header, Page, Section, facts_with_values


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Section of a paper: facts about the paper and its tables."""

    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]


def papers_page() -> Page:
    """Return the page with all tables of the papers."""
    sections = []
    for key, paper in papers()["papers"].items():
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
