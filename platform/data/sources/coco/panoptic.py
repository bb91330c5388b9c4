"""Drawing of panoptic annotations, whose segments are colours of a PNG file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ....labels import VOID
from ....serialization import quoted
from ...images import decode_image
from .index import NO_CLASS
from .values import whole_number, zero_or_one

RGB_HEADER = b"\x08\x02"
"""Bits per channel and colour type of a PNG file in RGB, at bytes 24 and 25."""
COLOURS = 1 << 24


def panoptic_mask(
    png: bytes, name: str, segments: object, classes: Sequence[int], crowds: bool
) -> NDArray[np.uint8]:
    """Return the mask `[H,W]` of a panoptic annotation.

    A pixel's segment is R + 256 G + 65536 B. Pixels without segment (0) are void; segments
    whose category is no class, and crowds unless they are drawn, are background.

    Args:
        png: bytes of the PNG file.
        name: path of the file, for messages.
        segments: the annotation's `segments_info`.
        classes: class of each segment, or NO_CLASS; one NO_CLASS where there is no segment.
        crowds: whether crowds are drawn.

    Raises:
        InputError: the file is no readable image.
        ValueError: the file or a segment is wrong.
    """
    if not isinstance(segments, list):
        raise ValueError("segments_info is no list")
    if png[24:26] != RGB_HEADER:
        raise ValueError(f"{name} is no PNG file in RGB with 8 bits")
    colours = decode_image(png, name).astype(np.int32) @ np.array([1, 256, 65536], np.int32)
    values = {0: VOID}
    for segment, label in zip(segments, classes, strict=bool(segments)):
        if not isinstance(segment, dict):
            raise ValueError(f"the segment {quoted(segment)} is not an object")
        number = whole_number(segment.get("id"), COLOURS)
        if number in values:
            raise ValueError(f"the segment {number} is listed twice, or is 0")
        crowd = zero_or_one(segment.get("iscrowd") or 0, "iscrowd")
        values[number] = 0 if (crowd and not crowds) or label == NO_CLASS else label + 1
    present, inverse = np.unique(colours, return_inverse=True)
    unknown = [number for number in present.tolist() if number not in values]
    if unknown:
        raise ValueError(f"{name} has the segment {unknown[0]}, which segments_info does not list")
    table = np.array([values[number] for number in present.tolist()], np.uint8)
    return table[inverse].reshape(colours.shape)
