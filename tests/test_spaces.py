"""Search spaces: every value of every field makes an experiment, and every method has one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from wsss.platform.experiment import experiment
from wsss.platform.method import methods

NAMES = sorted(p.stem for p in (Path(__file__).parents[1] / "tune_spaces").glob("*.py"))


def test_every_method_with_options_of_its_own_has_one():
    wanted = {name for name, cls in methods().items() if cls.Config.__dataclass_fields__}
    assert wanted == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_allowed(name):
    spaces = importlib.import_module(f"wsss.tune_spaces.{name}").SPACES
    assert "default" in spaces
    for space in spaces.values():
        for field, values in space.items():
            assert len(set(values)) == len(values) > 1
            for value in values:
                experiment(name, changes={field: value})
