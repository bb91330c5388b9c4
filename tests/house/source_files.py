"""The Python files of the package and the imports in them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("platform", "methods", "tune_spaces", "dashboards")
"""The top folders of the package."""
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
"""All Python files of the package."""


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """Yield (line, absolute dotted name) of each import of a file, also inside functions."""
    package = ("wsss", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def offenders(check):
    """Return "file:line name" of each import for which `check(path, name)` is true."""
    return [
        f"{relative(path)}:{line} {name}"
        for path in FILES
        for line, name in imports(path)
        if check(path, name)
    ]
