"""Drawing of the outlines and run lengths of annotations.

Polygons are drawn by COCO's own API (pycocotools). Run lengths are decoded here, because a count
beyond the image must not reach the C code of the API.
Shapes: H W pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ....serialization import quoted
from .values import whole_number

Form = Literal["none", "runs", "polygons", "flat", "points", "unknown"]
"""Form of a segmentation.

none: no outline, such as null, `[]`, or polygons of fewer than three points; runs: run lengths;
polygons: a list of `[x, y, x, y, ...]`, or of `[[x, y], [x, y], ...]`; flat: one polygon
`[x, y, x, y, ...]` without a list around it; points: one polygon `[[x, y], [x, y], ...]` without a
list around it; unknown: something else, which cannot be drawn.
"""
FORM_NOTES: dict[Form, str] = {
    "none": "have no outline, only a box or fewer than three points; they give labels and draw "
    "nothing",
    "flat": "have one polygon x, y, x, y, ... in place of a list of polygons; it is drawn",
    "points": "have one list of points [x, y] in place of a list of polygons; it is drawn as one "
    "polygon",
}
LEAST_POINTS = 3
MOST_DIGITS = 7
"""Most characters of one number of compressed run lengths, 35 bits."""


def form_of(segmentation: object) -> Form:
    """Return the form of a segmentation from the kinds and lengths of its lists."""
    if segmentation is None:
        return "none"
    if isinstance(segmentation, dict):
        return "none" if segmentation.get("counts", 0) in ("", []) else "runs"
    if not isinstance(segmentation, list):
        return "unknown"
    if segmentation and isinstance(segmentation[0], int | float):
        return "flat" if len(segmentation) >= 2 * LEAST_POINTS else "none"
    if not all(isinstance(polygon, list) for polygon in segmentation):
        return "unknown"
    if _are_points(segmentation):
        return "points"
    encloses = (len(p) >= (1 if _are_points(p) else 2) * LEAST_POINTS for p in segmentation)
    return "polygons" if any(encloses) else "none"


def _are_points(polygon: list[object]) -> bool:
    """Return whether a list consists of three or more points `[x, y]`."""
    return len(polygon) >= LEAST_POINTS and all(
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, int | float) for value in point)
        for point in polygon
    )


def _polygons(segmentation: object) -> list[list[float]]:
    """Return the polygons `[x, y, x, y, ...]` of a segmentation that is a list.

    Raises:
        ValueError: the segmentation is in another form.
    """
    form = form_of(segmentation)
    if form == "unknown" or not isinstance(segmentation, list):
        raise ValueError(
            f"its segmentation {quoted(segmentation)} is neither polygons nor run lengths"
        )
    lists = [segmentation] if form in ("flat", "points") else segmentation
    polygons = []
    for polygon in lists:
        if not isinstance(polygon, list):  # fewer than six numbers without a list around them
            continue
        values = [v for point in polygon for v in point] if _are_points(polygon) else polygon
        if len(values) % 2 or any(
            not isinstance(v, int | float) or isinstance(v, bool) for v in values
        ):
            raise ValueError(f"the polygon {quoted(values)} is no list of x, y, x, y, ...")
        polygons.append([float(v) for v in values])
    return polygons


def has_pixels(segmentation: object) -> bool:
    """Return whether a coordinate of polygons is over 1, so that they are not shares of a size."""
    try:
        return any(abs(v) > 1 for polygon in _polygons(segmentation) for v in polygon)
    except (ValueError, OverflowError):  # refused when it is drawn
        return True


def segmentation_mask(segmentation: object, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels `[H,W]` that a segmentation covers.

    Args:
        segmentation: polygons or run lengths, see `Form`.
        height: H.
        width: W.

    Raises:
        ValueError: the segmentation is neither, or goes far beyond the image.
        OverflowError: a coordinate is too large for a float.
    """
    from pycocotools import mask as api

    if form_of(segmentation) == "runs" and isinstance(segmentation, dict):
        return _decode_runs(segmentation, height, width)
    if segmentation is None or isinstance(segmentation, dict):
        return np.zeros((height, width), np.bool_)
    reach = 2 * max(height, width)
    polygons = []
    for points in _polygons(segmentation):
        if not all(math.isfinite(v) and abs(v) <= reach for v in points):
            raise ValueError(f"a polygon leaves the {width}x{height} image")
        if len(points) >= 2 * LEAST_POINTS:
            polygons.append(points)
    if not polygons:
        return np.zeros((height, width), np.bool_)
    runs = api.frPyObjects(polygons, height, width)
    drawn: NDArray[np.bool_] = api.decode(api.merge(runs)).astype(np.bool_)
    return drawn


def _decode_runs(runs: dict[str, object], height: int, width: int) -> NDArray[np.bool_]:
    """Decode run lengths down the columns, the first a run of 0.

    Raises:
        ValueError: they are no run lengths, or do not fit the image.
    """
    counts, size = runs.get("counts"), runs.get("size")
    if not isinstance(counts, str | list):
        raise ValueError(f"the counts {quoted(counts)} of its run lengths are no text and no list")
    if size != [height, width]:  # 8.0 equals 8
        raise ValueError(
            f"its run lengths have the size {quoted(size)}, and the image is [{height}, {width}], "
            "height and width"
        )
    if isinstance(counts, str):
        lengths = _decompress(counts)
    else:
        lengths = np.array([whole_number(count, height * width + 1) for count in counts], np.int64)
    if (lengths < 0).any() or (lengths > height * width).any() or lengths.sum() != height * width:
        raise ValueError(
            f"its run lengths do not add up to the {height * width} pixels of the image"
        )
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(width, height).T


def _decompress(text: str) -> NDArray[np.int64]:
    """Return the counts of compressed run lengths.

    A character holds six bits above 48: five bits of a number, lowest first, and whether the number
    goes on. A number is signed; from the fourth on it is the difference to the count two before.
    Source: rleToString of COCO's API. A text such as "b'...'" is Python's form of bytes.

    Raises:
        ValueError: the text is in another form.
    """
    if text.startswith("b'") and text.endswith("'"):
        text = text[2:-1].replace("\\\\", "\\")
    bits = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    (ends,) = np.nonzero(bits & 32 == 0)
    starts = np.append(0, ends[:-1] + 1)
    digits = ends - starts[: len(ends)] + 1
    whole = len(ends) > 0 and ends[-1] == len(bits) - 1 and digits.max() <= MOST_DIGITS
    if not whole or (bits < 0).any() or (bits > 63).any():
        raise ValueError(f"the counts {quoted(text)} of its run lengths are damaged")
    places = np.arange(len(bits)) - np.repeat(starts, digits)
    counts = np.add.reduceat((bits & 31) << 5 * places, starts)
    counts -= (bits[ends] & 16 > 0) * (1 << 5 * digits)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
