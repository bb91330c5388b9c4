"""Tests of recipes: a recipe sets each of its options, whatever the preset says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wsss.platform.config.experiment import Segment
from wsss.platform.config.groups.training import Training
from wsss.platform.config.recipes import RECIPES, recipe
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment

ODD = Segment(
    network="upernet",
    frozen_stages=3,
    stride=16,
    scales=(0.6,),
    test_scales=(1.0, 2.0),
    crf="deeplab",
    balanced=True,
    iterations=7,
    training=Training(
        split="",
        epochs=4,
        workers=2,
        batch_size=3,
        lr=0.5,
        head_factor=3.0,
        momentum=0.1,
        weight_decay=0.2,
        power=0.3,
        clip_norm=9.0,
        crop=99,
        rescale=(0.1, 0.2),
        factors=(3.0,),
        fit=(90, 80),
        optimizer="adamw",
        warm_up=3,
    ),
)
"""A configuration that differs from each recipe in what recipes state, and in three other options:
network, epochs and workers."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_all_its_options_whatever_they_were(name):
    fresh = RECIPES[name](Segment())
    unsaid = replace(fresh.training, epochs=ODD.training.epochs, workers=ODD.training.workers)
    assert RECIPES[name](ODD) == replace(fresh, network=ODD.network, training=unsaid)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_same_segmenter_on_every_preset(name):
    segments = [
        build_experiment("lpcam", preset=preset, recipe=name).segment
        for preset in ("paper", "release", "default", "scenes")
    ]
    steps = {replace(s, training=replace(s.training, epochs=1)) for s in segments}
    assert len(steps) == 1  # epochs follow from iterations


def test_a_recipe_applies_to_the_baseline_too_and_changes_come_after_it():
    made = build_experiment(
        "psdpm",
        preset="scenes",
        baseline="lpcam",
        recipe="psdpm-voc",
        changes={"segment.training.lr": 0.7, "baseline.segment.stride": 16},
    )
    assert made.segment.training.crop == made.baseline.segment.training.crop == 448
    assert made.segment.training.lr == made.baseline.segment.training.lr == 0.7
    assert (made.segment.stride, made.baseline.segment.stride) == (8, 16)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(InputError, match="there are lpcam-voc"):
        recipe("mine")
    with pytest.raises(InputError, match="unknown recipe 'mine'; there are lpcam-voc"):
        build_experiment("cam", recipe="mine")


def test_recipes_take_images_as_their_source_does():
    by_name = {name: RECIPES[name](Segment()).training for name in RECIPES}
    assert {name for name, t in by_name.items() if t.cropping == "deeplab"} == set(RECIPES)
    fitted = {name for name, t in by_name.items() if t.fit == (2048, 512)}
    assert fitted == {"swin", "swin-coco"}
