"""Tests of the Python examples in the README and the documentation, on fewer images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from notebook_cells import Cells
from small_jobs import SMALL
from wsss.platform.cli import resolve
from wsss.platform.method import registry

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/quick-start.md", "docs/python.md")
NOTEBOOK = ROOT / "docs" / "examples" / "scenes.ipynb"
FEWER = {"Scenes()": "Scenes(train=16, val=8)"}


def blocks(page: str) -> list[str]:
    """Return the Python code of a page, block by block."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


EXAMPLES = {blocks(page)[0]: page for page in PAGES}
"""The page of each first example; pages with the same example count once."""


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store in which examples with equal stages share them."""
    return tmp_path_factory.mktemp("examples") / "store"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_store: Path) -> None:
    """Make experiments small, let them share a store, and forget new methods."""
    given: Callable[..., Mapping[str, object]] = resolve._changes

    def smaller(*arguments: Any) -> dict[str, object]:
        return {**given(*arguments), **SMALL, "training.epochs": 1, "views.scales": (1.0,)}

    monkeypatch.setattr(resolve, "_changes", smaller)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("WSSS_STORE", str(shared_store))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=EXAMPLES.get)
def test_the_first_example_runs(
    example: str, trials_without_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`test_api_with_ray.py` runs the functions of the examples with Ray."""
    smaller = example.replace("Scenes()", FEWER["Scenes()"]).replace(
        'preset="scenes"', 'preset="scenes", changes={"training.epochs": 1}'
    )
    assert smaller != example
    exec(compile(smaller, EXAMPLES[example], "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"^cam\b.*\bval\b.*\d", out, re.MULTILINE)
    assert re.search(r"^lpcam\b.*\bval\b.*\d", out, re.MULTILINE)
    for name in re.findall(r'"([\w-]+\.(?:png|html))"', example):
        assert (tmp_path / name).stat().st_size > 1000


def test_examples_of_the_api_are_short() -> None:
    for page in PAGES[1:]:
        lines = [line for line in blocks(page)[0].splitlines() if line.strip()]
        assert len(lines) <= 8
        assert [line for line in lines if "import" in line] == lines[:1]
        assert lines[0].startswith("from wsss.platform.api import ")


def test_own_methods_of_the_page_run(in_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    cells = Cells()
    cells.run(f'from wsss.platform.api import Scenes, add\nadd({FEWER["Scenes()"]}, "scenes")')
    for name in ("squared", "sparse"):
        block = next(text for text in blocks("docs/python.md") if f'name = "{name}"' in text)
        cells.run(block)
        assert re.search(rf"\b{name} +val\b", capsys.readouterr().out)


def test_the_own_network_of_the_page_has_class_maps(capsys: pytest.CaptureFixture[str]) -> None:
    block = next(text for text in blocks("docs/python.md") if "as_classifier" in text)
    assert len(block.splitlines()) <= 11
    Cells().run(block)
    assert "torch.Size([2, 20, 56, 56]) torch.Size([2, 21, 56, 56])" in capsys.readouterr().out


def test_the_notebook_runs(in_process: None) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    cells, shown = Cells(), []
    for source in sources:
        shown.append(cells.run(source.replace("Scenes()", FEWER["Scenes()"])))
    assert [type(value).__name__ for value in shown] == [
        "DataFrame",
        "RunResult",
        "Image",
        "Figure",
        "Figure",
        "DataFrame",
        "RunResult",
    ]
    assert "lpcam" in shown[1]._repr_html_()
    assert {"cam", "squared"} == set(shown[-1].frame["result"])
