"""Mistakes in the values of masks, as tables from a mask's value to the value that was meant.

A mask of N classes has 0 for background, class + 1, and 255 for void. Where image labels and masks
disagree throughout, one of these tables may explain it: with the meant values they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...labels import VOID

UNKNOWN = -1
"""The meant value of a mask's value that a table does not have."""
AS_IS = "as is"
"""Name of the table that changes nothing."""
LABELS_FROM_1 = "labels from 1"
"""Name of the table with which masks agree with labels that are one too high."""
MEANINGS = {
    "white": "each mask has only the values 0 and 255, and 255 stands for the object",
    "one too high": "each value is one too high, so that 1 is background and 2 the first class",
    "one too low": "classes are counted from 0, so that 0 is the first class instead of background",
    LABELS_FROM_1: "the labels are indices that count from 1, not from 0",
    "category ids": "values are the category ids of COCO, 1 to 90 with gaps, instead of 1 to 80",
    "class numbers": "values are the numbers 1 to 80 of COCO's classes instead of category ids",
}
"""What a mistake is, in words, by the name of its table; of equally good ones the first counts."""
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The numbers from 1 to 90 that are no category id of COCO (instances of 2014 and 2017)."""
COCO_IDS = tuple(id for id in range(1, 91) if id not in COCO_GAPS)
"""The category ids of COCO's 80 classes."""


@cache
def value_maps(classes: int) -> Mapping[str, NDArray[np.int16]]:
    """Return the tables `[256]` of meant values for masks of N classes, by name.

    The table "white" is not among them, because the class that it means is the image's only label.

    Args:
        classes: N, without background.
    """
    values = np.arange(256, dtype=np.int16)
    high, low = values - 1, values + 1
    high[0] = 0
    low[classes] = 0  # background after the last class
    tables = {AS_IS: values, "one too high": high, "one too low": low, LABELS_FROM_1: values + 1}
    if classes == len(COCO_IDS):
        tables["category ids"] = np.full(256, UNKNOWN, np.int16)
        tables["category ids"][[*COCO_IDS]] = np.arange(1, len(COCO_IDS) + 1)
    elif classes in (90, 91):
        tables["class numbers"] = np.full(256, UNKNOWN, np.int16)
        tables["class numbers"][1 : len(COCO_IDS) + 1] = COCO_IDS
    for name, table in tables.items():
        if name not in ("one too high", "one too low"):
            table[0] = 0
        table[table > classes] = UNKNOWN
        table[VOID] = VOID
    return tables


def explanations(values: NDArray[np.int64], labels: tuple[int, ...], classes: int) -> set[str]:
    """Return the names of the tables with which a mask shows exactly the labels of its image.

    Args:
        values: pixel counts of the mask `[256]` by value.
        labels: 0-based classes of the image.
        classes: number of classes.
    """
    present = np.flatnonzero(values)
    expected = {label + 1 for label in labels}
    names = {
        name
        for name, table in value_maps(classes).items()
        if set(table[present].tolist()) - {0, VOID} == expected
    }
    if is_white(values) and len(labels) == 1:
        names.add("white")
    return names


def is_white(values: NDArray[np.int64]) -> bool:
    """Return whether a mask holds 255 and no other value but 0; `values` are its counts `[256]`."""
    return bool(values[VOID]) and not values[1:VOID].any()
