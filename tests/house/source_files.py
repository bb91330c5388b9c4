"""The Python files of the package and the imports in them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("platform", "methods", "tune_spaces", "dashboards")
"""The top folders of the package."""
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
"""All Python files of the package."""
FILES_AND_TESTS = [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]


def relative(path):
    return path.relative_to(ROOT).as_posix()


@functools.cache
def nodes(path):
    """Return all nodes of the syntax tree of a file."""
    return [*ast.walk(ast.parse(path.read_text()))]


@functools.cache
def imports(path):
    """Return (line, absolute dotted name) of each import of a file, also inside functions."""
    package = ("wsss", *path.relative_to(ROOT).parent.parts)
    names = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
    return names


def offenders(check):
    """Return "file:line name" of each import for which `check(path, name)` is true."""
    return [
        f"{relative(path)}:{line} {name}"
        for path in FILES
        for line, name in imports(path)
        if check(path, name)
    ]
