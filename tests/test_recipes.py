"""Recipes are whole: no preset shows through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wsss.platform.errors import InputError
from wsss.platform.experiment import experiment
from wsss.platform.recipes import DEEPLAB, RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_same_segmenter_on_every_preset(name):
    found = [
        experiment("lpcam", preset=preset, changes=recipe(name)).segment
        for preset in ("paper", "release", "default", "scenes")
    ]
    wanted = RECIPES[name]
    assert wanted.keys() == DEEPLAB.keys()
    for segment in found:
        values = {**vars(segment), **vars(segment.training)}
        assert {k: values[k] for k in wanted} == dict(wanted)
    steps = {replace(s, training=replace(s.training, epochs=1)) for s in found}
    assert len(steps) == 1  # epochs follow from iterations


def test_an_unknown_recipe_is_refused():
    with pytest.raises(InputError, match="there are lpcam-voc"):
        recipe("mine")
