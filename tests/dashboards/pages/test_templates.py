"""Tests of the templates: all HTML is in them, and every text that they insert is escaped."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import jinja2
import pytest
from wsss.dashboards.pages.layout import TEMPLATES

ROOT = Path(__file__).parents[3]
DASHBOARDS = ROOT / "dashboards"
TAG = re.compile(r"(?<!\?P)</?[A-Za-z]+[1-6]?[\s>/]|</?[A-Za-z]+$")
PLOTLY_TAGS = re.compile(r"</?(b|br|extra)>")
"""Tags that Plotly reads in titles and hover texts; figures are data, not HTML."""


def strings(path: Path) -> list[str]:
    """Return the string constants of a Python file without its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


def test_no_python_file_contains_html() -> None:
    files = sorted(DASHBOARDS.rglob("*.py"))
    assert len(files) > 20
    for path in files:
        is_figure = path.parent.name == "figures" or path.name == "labels.py"
        for text in strings(path):
            text = PLOTLY_TAGS.sub("", text) if is_figure else text
            assert not TAG.search(text), (path.name, text)


def test_nothing_but_one_own_script_is_inserted_unescaped() -> None:
    unescaped = []
    for path in sorted((DASHBOARDS / "templates").iterdir()):
        text = path.read_text()
        unescaped += [f"{path.name}: {use}" for use in re.findall(r"\w+ *\| *safe", text)]
        assert "autoescape" not in text
    assert unescaped == ["single_file.html: script | safe"]
    for path in DASHBOARDS.rglob("*.py"):
        assert "Markup(" not in path.read_text(), path.name


def test_every_text_is_escaped_in_content_attributes_and_figures() -> None:
    hostile = "\"'><img src=x>&\x00\x1b"
    page = TEMPLATES.from_string("<p title='{{ text }}'>{{ text }}</p>{{ [text] | tojson }}")
    safe = "&#34;&#39;&gt;&lt;img src=x&gt;&amp;  "
    data = r'["\"\u0027\u003e\u003cimg src=x\u003e\u0026\u0000\u001b"]'
    assert page.render(text=hostile) == f"<p title='{safe}'>{safe}</p>{data}"


def test_a_name_that_a_page_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        TEMPLATES.from_string("{{ nobody }}").render()
    for name in TEMPLATES.list_templates():
        TEMPLATES.get_template(name)


def test_the_package_holds_every_template_and_script() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    patterns = tool["setuptools"]["package-data"]["wsss.dashboards"]
    packaged = {path for pattern in patterns for path in DASHBOARDS.glob(pattern)}
    files = [p for p in DASHBOARDS.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert len(files) > 15
    assert set(files) <= packaged
