"""Tests of the README: it is short, in order, and agrees with the pages that it points to."""

from __future__ import annotations

import re

import pytest
from PIL import Image
from written_pages import DOCS, README, ROOT, blocks, lines, prose, words
from wsss.platform.method import methods

MOST_WORDS = 1_000
"""Largest number of words outside code blocks and tables."""
LONGEST_COMMAND = 100
"""Largest number of characters of a command."""
SECTIONS = (
    "Install",
    "From Python",
    "Six words",
    "Methods",
    "LPCAM on VOC",
    "Measured",
    "Sweeps and the dashboard",
    "On a cluster",
    "Add a method",
    "Documentation",
    "Licence and citation",
)


def section(title: str) -> str:
    """Return the text of a section, with its code blocks."""
    return README.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without their heads."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readme_is_one_page() -> None:
    text = "\n".join(line for line in prose(README).splitlines() if not line.startswith("|"))
    assert 300 < len(words(text)) <= MOST_WORDS


def test_no_command_is_long() -> None:
    commands = lines(README)
    assert len(commands) >= 9
    assert [line for line in commands if len(line) > LONGEST_COMMAND] == []
    assert [b for b in blocks(README, "console") if "\\\n" in b] == []


def test_the_sections_are_in_order() -> None:
    text = README.read_text()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS
    start = text.split("\n## ")[0]
    assert len(re.findall(r"^- \*\*", start, re.MULTILINE)) == 5
    assert start.index("![") < start.index("- **")
    assert len(rows(section("Six words"))) == 6
    assert len(re.findall(r"^\$ ", section("LPCAM on VOC"), re.MULTILINE)) == 3
    assert len(blocks(README, "python")[0].split("\n\n")[-1].splitlines()) <= 8


def test_every_method_has_a_row_with_a_link_to_its_paper() -> None:
    by_method = {row[0]: row[-1] for row in rows(section("Methods"))}
    assert {re.sub(r"\[`([\w-]+)`\].*", r"\1", name) for name in by_method} == set(methods())
    assert all("](https://" in paper for paper in by_method.values())


def test_every_figure_is_in_a_table_of_the_pages_of_measurements() -> None:
    pages = [page.read_text() for page in DOCS if page.parent.name == "measured"]
    table_lines = [line for text in pages for line in text.splitlines() if line.startswith("|")]
    figures = [(row[0], cell) for row in rows(section("Measured")) for cell in row[1:] if cell]
    assert len(figures) >= 19
    for method, figure in figures:
        names = re.findall(r"[A-Z]{3,}", method)
        assert any(figure in line and any(n in line for n in names) for line in table_lines), figure


@pytest.mark.parametrize("path", re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text()))
def test_pictures_are_small_enough_to_load_at_once(path: str) -> None:
    file = ROOT / path
    assert file.stat().st_size < 300_000
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert 900 <= image.width <= 1280
