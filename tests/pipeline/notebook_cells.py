"""Cells of a notebook that a test runs in its own process, as IPython does."""

from __future__ import annotations

import ast
import itertools
import linecache
from typing import Any

COUNT = itertools.count()


class Cells:
    """The cells of one notebook, which share their names."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, text: str) -> Any:
        """Run a cell, whose source code `inspect` can then read, and return its last expression."""
        name = f"<cell {next(COUNT)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        statements = ast.parse(text).body
        last = statements.pop() if statements and isinstance(statements[-1], ast.Expr) else None
        exec(compile(ast.Module(statements, []), name, "exec"), self.names)
        if not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), name, "eval"), self.names)
