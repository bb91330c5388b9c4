"""Test that the functions in which faults happen exist, in the modules that define them.

Without it, only `make test-cluster` would miss a fault whose function has moved.
"""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAMES = sorted(
    {
        node.args[0].value
        for path in TESTS.rglob("*.py")
        if "Fault(" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Fault"
        and isinstance(node.args[0], ast.Constant)
    }
)
"""The names that tests give to `Fault`: module, colon, function or constant."""


def test_the_names_of_faults_are_found() -> None:
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_happens_where_its_function_is_defined(name: str) -> None:
    """A process that imports only the defining module would never be disturbed otherwise."""
    path, _, function = name.partition(":")
    module = importlib.import_module(f"wsss.{path}")
    value = functools.reduce(getattr, function.split("."), module)
    if callable(value):
        assert value.__module__ == module.__name__
