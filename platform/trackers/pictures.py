"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL, SMALL_CELL, MARGIN = 26, 12, 4
"""Pixels of a cell with its number, of a cell without, and around names."""
MOST_NUMBERED = 32
"""Most classes of a matrix whose cells have numbers."""


def confusion_picture(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Image.Image:
    """Return a confusion matrix in shades of blue: each row is a target, white 0 % and blue 100 %.

    Args:
        classes: N + 1 names of classes, background first.
        counts: pixels by target and then by prediction; a row may be empty of pixels.

    Returns:
        An RGB picture; numbers in its cells are percents of the row.
    """
    font = ImageFont.load_default(11)
    cell = CELL if len(classes) <= MOST_NUMBERED else SMALL_CELL
    matrix = np.asarray(counts, dtype=np.float64)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    names = [f"{number} {name}" for number, name in enumerate(classes)]
    left = 2 * MARGIN + round(max(font.getlength(name) for name in names))
    out = Image.new("RGB", (left + cell * len(names), cell * (len(names) + 1)), "white")
    draw = ImageDraw.Draw(out)
    for column in range(len(names)):
        if cell == CELL or column % 5 == 0:
            draw.text((left + cell * column + MARGIN, MARGIN), str(column), "black", font)
    for row, name in enumerate(names):
        top = cell * (row + 1)
        draw.text((MARGIN, top + (cell - 13) // 2), name, "black", font)
        for column in range(len(names)):
            share, start = shares[row, column], left + cell * column
            shade = round(255 * (1 - share))
            corners = (start, top, start + cell - 2, top + cell - 2)
            draw.rectangle(corners, fill=(shade, shade, 255), outline="lightgray")
            if cell == CELL and share >= 0.005:
                ink = "white" if share > 0.6 else "black"
                draw.text((start + MARGIN, top + 6), f"{100 * share:.0f}", ink, font)
    return out
