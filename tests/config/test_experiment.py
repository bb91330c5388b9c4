"""The help of every field of an experiment: a full sentence that begins with what the field is."""

from __future__ import annotations

import re

import pytest
from wsss.platform.config.fields import walk
from wsss.platform.method import build_experiment, methods

SENTENCE = re.compile(r"(?!(Of|That|What|Which|Whose)\b)[A-Z].*[.)]", re.DOTALL)


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_help_is_a_sentence(method: str) -> None:
    helps = {name: str(field.description) for name, _, field in walk(build_experiment(method))}
    assert {name: help for name, help in helps.items() if not SENTENCE.fullmatch(help)} == {}
