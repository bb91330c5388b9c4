"""Tests of masks whose palette holds greys, which may be their values or only show them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from wsss.platform.data.images import encode_png
from wsss.platform.data.readers.masks.mask_reader import MaskReader
from wsss.platform.data.readers.masks.value_map import parse
from wsss.platform.errors import InputError

CLASSES = ("bird", "cat", "dining table")


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def read(data: bytes, *given: str, classes: Sequence[str] = CLASSES) -> np.ndarray:
    reader = MaskReader(classes=len(classes), value_map=parse(given, classes))
    return reader.read(data, "m.png", (0,)).values


def in_greys(values: Sequence[int], greys: Sequence[int]) -> bytes:
    """Return a mask of one row of indices whose palette has greys."""
    image = Image.fromarray(np.array([values], np.uint8))
    image.putpalette(np.repeat(np.array(greys, np.uint8), 3).tolist())
    return png(image)


def test_a_palette_of_greys_that_differ_from_their_indices_is_refused() -> None:
    """Pillow's adaptive palette numbers the levels 0, 1, 3 and 255 of a grey mask anew."""
    grey = np.array([[0, 1, 0, 3, 255], [0, 0, 1, 1, 3]], np.uint8)
    adaptive = Image.fromarray(grey).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.asarray(adaptive).max() == 3
    with pytest.raises(InputError, match=r"m\.png has a palette of greys, whose index 0 is grey 2"):
        read(png(adaptive))
    words = ("0,0,0=background", "1,1,1=bird", "3,3,3=dining table", "255,255,255=void")
    np.testing.assert_array_equal(read(png(adaptive), *words), grey)
    with pytest.raises(InputError, match=r"index 1 is grey 255; .*1=CLASS, or .*255,255,255=CLAS"):
        read(in_greys([0, 1], [0, 255]))


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        ([0, 1, 2, 255], range(256)),
        ([0, 1, 2], [0, 0, 0]),
        ([1], [0]),
        ([0, 1, 3], [0, 1, 9, 3]),
    ],
)
def test_greys_that_are_the_indices_or_show_nothing_are_read(
    values: Sequence[int], greys: Sequence[int]
) -> None:
    np.testing.assert_array_equal(read(in_greys(values, greys)), [values])


def test_a_grey_colour_beside_other_colours_and_one_class_in_white_are_read() -> None:
    car = np.array([[0, 7]], np.uint8)  # VOC's palette shows class 7 as grey 128
    np.testing.assert_array_equal(read(encode_png(car), classes="abcdefg"), car)
    white = in_greys([0, 1], [0, 255])
    np.testing.assert_array_equal(read(white, classes=("cat",)), [[0, 1]])


def test_greys_of_vocs_own_palette_are_read() -> None:
    """A palette of which only the entries of background and car were kept."""
    classes = tuple(f"class {k}" for k in range(1, 21))
    greys = [0] * 7 + [128]
    assert read(in_greys([0, 7, 7], greys), classes=classes).tolist() == [[0, 7, 7]]


def test_black_white_and_void_are_one_class() -> None:
    greys = [0, 255] + [0] * 253 + [128]
    assert read(in_greys([0, 1, 255], greys), classes=("cat",)).tolist() == [[0, 1, 255]]
