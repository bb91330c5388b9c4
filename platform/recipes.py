"""Trainings of segmenters that papers and repositories report, by name.

Batches are images a step: a batch of 5 with gradients of two steps added up counts as 10. All
start from ImageNet weights, except where the name says otherwise, and are tested on the image once,
without DenseCRF, which `segment.crf` adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import InputError

DEEPLAB: Mapping[str, Any] = {
    "frozen_stages": 0,
    "stride": 8,
    "scales": (0.75, 0.5),
    "test_scales": (),
    "crf": "",
    "balanced": False,
    "iterations": 20_000,
    "batch_size": 10,
    "lr": 2.5e-4,
    "head_factor": 10.0,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "power": 0.9,
    "clip_norm": 0.0,
    "crop": 321,
    "rescale": (0.5, 1.5),
    "optimizer": None,
    "warm_up": None,
}
"""kazuto1011/deeplab-pytorch on VOC. Its rate changes every 10 steps, here at every one."""

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "lpcam-voc": DEEPLAB,
    "lpcam-coco": {**DEEPLAB, "iterations": 100_000, "batch_size": 20, "lr": 2e-4},
    "advcam-voc": {
        **DEEPLAB,
        "iterations": 30_000,
        "batch_size": 20,
        "rescale": (0.5, 2.0),
        "balanced": True,
    },
    "psdpm-voc": {**DEEPLAB, "crop": 448},
    "psdpm-coco": {
        **DEEPLAB,
        "iterations": 100_000,
        "batch_size": 5,
        "crop": 481,
        "rescale": (0.5, 2.0),
    },
    "swin": {
        **DEEPLAB,
        "scales": (),
        "iterations": 40_000,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 6e-5,
        "head_factor": 1.0,
        "weight_decay": 0.01,
        "power": 1.0,
        "warm_up": 1500,
        "crop": 512,
        "rescale": (0.5, 2.0),
    },
}
"""advcam-voc is also CLIMS's. swin is mmsegmentation's for UperNet, without its jitter of colours
and from the image's own size instead of 2048 x 512; LPCAM's authors lost theirs. CLIP-ES's and
RIB's are not published whole, so they are not here."""


def recipe(name: str) -> dict[str, Any]:
    """The changes of a recipe, by dotted field.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}")
    own = ("frozen_stages", "stride", "scales", "test_scales", "crf", "balanced", "iterations")
    return {
        f"segment.{k}" if k in own else f"segment.training.{k}": v for k, v in RECIPES[name].items()
    }
