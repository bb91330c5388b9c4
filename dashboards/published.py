"""Results that the papers of the methods print, with the source of every number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "assets" / "papers.json"
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


@cache
def papers() -> dict[str, Any]:
    """Return the content of FILE: the papers, their tables, and their rows of the leaderboard."""
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data


def tables() -> list[dict[str, Any]]:
    """Return all tables as dicts of `paper`, `table` (its number), `caption`, `columns`, `rows`."""
    return list(papers()["tables"])


def leaderboard() -> list[Published]:
    """Return the rows that the papers report for the methods of this package."""
    out = []
    for line in papers()["leaderboard"]:
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
