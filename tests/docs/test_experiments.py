"""Tests of the experiment files: the printed figures that they name are those of the papers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from written_pages import ROOT, blocks
from wsss.platform.method.experiment_files import ExperimentFile

FOLDER = ROOT / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
TABLES = json.loads((ROOT / "dashboards" / "assets" / "papers.json").read_text())["tables"]
OWN = ("animals-", "mixed-")
"""How names of files begin that hold measurements of this project."""
PRINTED = re.compile(
    r"# (LPCAM|SIPE|CPAL|PSDPM|SSC), Table (\w+), .+: ([\d., ]+) on (VOC|COCO) (train|val)"
    r"(?:; test: ([\d.]+))?\."
)
"""A comment on the printed figures of a file: paper, table, row, figures, data and split."""


def printed_in(paper: str, table: str) -> set[float]:
    """Return the figures that a table of a paper prints."""
    rows = [
        row
        for entry in TABLES
        if (entry["paper"], entry["table"]) == (paper.lower(), table)
        for row in entry["rows"]
    ]
    return {cell for row in rows for cell in row if isinstance(cell, float)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_names_figures_that_the_papers_print(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert max(map(len, lines)) <= 100
    matches = [match for line in lines if (match := PRINTED.fullmatch(line))]
    assert bool(matches) == (not path.stem.endswith("-base") and not path.stem.startswith(OWN))
    for paper, table, figures, data, _, test in (match.groups() for match in matches):
        named = {float(word) for word in figures.split(", ")} | ({float(test)} if test else set())
        assert named <= printed_in(paper, table)
        assert path.stem.startswith(data.lower())


def test_each_file_builds_on_the_base_of_its_data() -> None:
    for path in FILES:
        base = re.search(r"^extends: (\w+)-", path.read_text(), re.MULTILINE)
        assert (base[1] if base else path.stem.split("-")[0]) == path.stem.split("-")[0]


def test_the_readme_names_each_weight_file_and_each_file_that_exists() -> None:
    text = (FOLDER / "README.md").read_text()
    pattern = r"weights/[\w-]+\.pth?\b"
    weights = {w for path in FILES for w in re.findall(pattern, path.read_text())}
    assert set(re.findall(pattern, text)) == weights
    assert set(re.findall(r"([\w-]+\.yaml)", text)) <= {path.name for path in FILES}


def test_the_files_on_the_page_are_read(tmp_path: Path) -> None:
    texts = blocks(ROOT / "docs" / "experiment-files.md", "yaml")
    assert len(texts) > 2
    (tmp_path / "voc-base.yaml").write_text((FOLDER / "voc-base.yaml").read_text())
    for text in texts:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        assert ExperimentFile.read(path).experiment({}, "default").method == "lpcam"
