"""Trainings of segmenters that papers and repositories report, by name.

Batches are images a step: a batch of 5 with gradients of two steps added up counts as 10. All
start from ImageNet weights, except where the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import InputError

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "lpcam-voc": {"iterations": 20_000, "batch_size": 10, "crop": 321, "rescale": (0.5, 1.5)},
    "lpcam-coco": {
        "iterations": 100_000,
        "batch_size": 20,
        "lr": 2e-4,
        "crop": 321,
        "rescale": (0.5, 1.5),
    },
    "advcam-voc": {
        "iterations": 30_000,
        "batch_size": 20,
        "crop": 321,
        "rescale": (0.5, 2.0),
        "balanced": True,
    },
    "psdpm-voc": {"iterations": 20_000, "batch_size": 10, "crop": 448, "rescale": (0.5, 1.5)},
    "psdpm-coco": {"iterations": 100_000, "batch_size": 5, "crop": 481, "rescale": (0.5, 2.0)},
}
"""lpcam-voc is deeplab-pytorch's default but for its COCO weights; advcam-voc also CLIMS."""


def recipe(name: str) -> dict[str, Any]:
    """The changes of a recipe, by dotted field.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}")
    own = ("iterations", "balanced")
    return {
        f"segment.{k}" if k in own else f"segment.training.{k}": v for k, v in RECIPES[name].items()
    }
