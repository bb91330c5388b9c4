"""Page of a data set: its check, counts by split and class, example images, and its origin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...platform.data.check import findings
from ...platform.data.check.dataset_check import DatasetCheck
from ...platform.data.check.rows import HEAD, CheckRow, rows_of
from ..content.dataset_images import Sample, samples
from ..labels import count_text
from ..tables import Cell, Table, percent_cell, text_cell
from .layout import Header, Page, Section, facts_with_values

UNCHECKED = "This data set was written before data sets were checked: wsss doctor {} checks it."


@dataclass(frozen=True, kw_only=True)
class ClassSamples:
    """Example images of a class: name, caption and pictures."""

    name: str
    caption: str
    pictures: Sequence[Sample]


def dataset_page(name: str, key: str, about: Mapping[str, Any], check: DatasetCheck | None) -> Page:
    """Return the page of a data set.

    Args:
        name: name of the data set.
        key: key of its shards.
        about: notes in the manifest of the shards.
        check: check of the data set; None for shards without one.
    """
    sections = [Section(key="check", title="Check", content=_sentences(name, about, check))]
    if check:
        rows = list(rows_of(check))
        sections.append(Section(key="splits", title="Splits", content=_splits(rows)))
        sections.append(Section(key="classes", title="Classes", content=_classes(rows, check)))
        sections.append(Section(key="images", title="Images", content=_images(key, check, rows)))
    sections.append(Section(key="origin", title="Origin", content=_origin(about)))
    counts = ", ".join(f"{split} {n:,}" for split, n in about["counts"].items())
    facts = [
        ("kind", about["source"]),
        ("images", counts),
        ("classes", len(about["classes"])),
        ("sizes", findings.sizes(check) if check else ""),
        ("left out", len(about.get("quarantined", [])) or ""),
        ("shards", key[:12]),
    ]
    return Page(
        template="dataset.html",
        title=name,
        header=Header(title=f"Data set {name}", facts=facts_with_values(facts)),
        sections=sections,
    )


def _sentences(name: str, about: Mapping[str, Any], check: DatasetCheck | None) -> list[str]:
    """Return sentences on the check, on how files were read, and on images that were left out."""
    notes = [*about.get("notes", [])]
    notes += [f"left out: {fault}" for fault in about.get("quarantined", [])]
    if check is None:
        return [UNCHECKED.format(name), *notes]
    return [*findings.sentences(check), *notes]


def _cells(row: CheckRow) -> list[Cell]:
    numbers = (row.images, row.masks, row.without_pixel, row.without_label)
    return [
        *(Cell(text=f"{number:,}", value=number) for number in numbers),
        percent_cell(row.pixels),
        percent_cell(row.void),
    ]


def _splits(rows: Iterable[CheckRow]) -> Table:
    lines = [[text_cell(row.name), *_cells(row)] for row in rows if row.kind != "class"]
    caption = (
        "Images by split; label without pixel: images with a label of which their mask has no "
        "pixel; pixel without label: images whose mask has a class that is no label"
    )
    return Table(caption=caption, head=["split", *HEAD], rows=lines, cards=True, sortable=True)


def _classes(rows: Iterable[CheckRow], check: DatasetCheck) -> Table:
    lines = []
    of_classes = [row for row in rows if row.kind == "class"]
    for k, row in enumerate(of_classes):
        ids = [*check.mismatches.without_pixel[k], *check.mismatches.without_label[k]]
        cells = [text_cell(row.name), *_cells(row)[:-1], text_cell(", ".join(dict.fromkeys(ids)))]
        lines.append(cells)
    caption = f"{len(lines)} class{'es' * (len(lines) != 1)} over all images"
    head = ["class", *HEAD[:-1], "images to look at"]
    return Table(caption=caption, head=head, rows=lines, cards=True, sortable=True)


def _images(key: str, check: DatasetCheck, rows: Iterable[CheckRow]) -> list[ClassSamples]:
    """Return the example images of each class that has any."""
    out = []
    for k, row in enumerate(row for row in rows if row.kind == "class"):
        pictures = samples(key, check, k)
        caption = f"{count_text(row.images, 'image')} labelled, {row.masks:,} with pixels"
        if pictures:
            out.append(ClassSamples(name=row.name, caption=caption, pictures=pictures))
    return out


def _origin(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts on what a data set came from, and the digests of its splits."""
    origin = about.get("origin", {})
    settings = {k: v for k, v in origin.get("settings", {}).items() if v not in (None, False)}
    facts = [
        ("kind", about["source"]),
        ("options", json.dumps(settings, ensure_ascii=False) if settings else ""),
        ("images", ", ".join(origin.get("images", []))),
        ("masks", ", ".join(origin.get("masks", []))),
    ]
    for split, digests in about.get("digests", {}).items():
        value = f"list {digests['ids'][:12]}, masks {digests['masks'][:12]}"
        facts.append((f"digests of {split}", value))
    return facts_with_values(facts)
