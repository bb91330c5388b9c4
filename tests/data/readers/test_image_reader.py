"""Tests that an image and its mask get one size and one orientation, or one sentence."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from wsss.platform.data.images import decode_image, encode_png
from wsss.platform.data.readers.image_reader import FileContent, ImageReader, LabelledImage
from wsss.platform.errors import InputError

WIDE, SQUARE = (6, 9), (7, 7)
TURNING = range(2, 9)
SWAPPING = range(5, 9)


def photograph(orientation: int, size: tuple[int, int]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(orientation).integers(0, 256, (*size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", exif=exif)
    return out.getvalue()


def mask_of(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8)


def read(image: bytes, mask: np.ndarray | None, **options: Any) -> LabelledImage:
    reader = ImageReader(classes=3, **options)
    file = None if mask is None else FileContent("m.png", encode_png(mask))
    return reader.read(FileContent("a.jpg", image), file, (0,))


def upright(image: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(image)) as stored:
        return np.array(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("size", [WIDE, SQUARE])
@pytest.mark.parametrize("orientation", TURNING)
def test_applied_turns_the_picture_and_keeps_the_mask(
    orientation: int, size: tuple[int, int]
) -> None:
    image = photograph(orientation, size)
    expected = upright(image)
    mask = mask_of(expected.shape[:2])
    result = read(image, mask, orientation="applied")
    np.testing.assert_array_equal(decode_image(result.image, "a"), expected)
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.pixels, expected)
    assert result.orientation == 1
    assert result.notes == (
        "the picture was turned by its EXIF orientation and encoded again, as PNG",
    )
    assert read(result.image, mask).notes == ()


@pytest.mark.parametrize("size", [WIDE, SQUARE])
@pytest.mark.parametrize("orientation", TURNING)
def test_stored_keeps_the_bytes(orientation: int, size: tuple[int, int]) -> None:
    image = photograph(orientation, size)
    result = read(image, mask_of(size), orientation="stored")
    assert (result.image, result.orientation) == (image, orientation)
    np.testing.assert_array_equal(result.pixels, decode_image(image, "a"))
    assert result.notes == ("the EXIF orientation was not applied",)


@pytest.mark.parametrize("orientation", SWAPPING)
def test_the_size_of_a_mask_tells_that_it_follows_the_stored_picture(orientation: int) -> None:
    image = photograph(orientation, WIDE)
    result = read(image, mask_of(WIDE))
    assert result.image == image
    assert result.notes == (
        "the EXIF orientation was not applied: the mask fits the picture as stored",
    )
    with pytest.raises(InputError, match=r"only as it is stored; give --orientation stored,"):
        read(image, mask_of(WIDE), orientation="applied")


@pytest.mark.parametrize("options", [{}, {"orientation": "stored"}])
@pytest.mark.parametrize("orientation", SWAPPING)
def test_a_mask_that_fits_the_turned_picture_alone_needs_the_option(
    orientation: int, options: dict[str, Any]
) -> None:
    sentence = (
        rf"image a\.jpg \(9x6 as stored\) has EXIF orientation {orientation}, and its mask m\.png "
        r"\(6x9\) fits the picture only turned by it; give --orientation applied, which t"
    )
    with pytest.raises(InputError, match=sentence):
        read(photograph(orientation, WIDE), mask_of(WIDE[::-1]), **options)


@pytest.mark.parametrize(
    ("orientation", "size"),
    [*((k, WIDE) for k in (2, 3, 4)), *((k, SQUARE) for k in TURNING)],
)
def test_a_mask_that_fits_both_pictures_needs_the_option(
    orientation: int, size: tuple[int, int]
) -> None:
    sentence = r"m\.png .* both as stored and turned by it; say with --orientation stored or --"
    with pytest.raises(InputError, match=sentence):
        read(photograph(orientation, size), mask_of(size))


@pytest.mark.parametrize("orientation", TURNING)
def test_without_a_mask_the_picture_is_read_as_stored(orientation: int) -> None:
    image = photograph(orientation, WIDE)
    result = read(image, None)
    assert (result.image, result.mask) == (image, None)
    assert result.notes == ("the EXIF orientation was not applied (--orientation applied does)",)
    turned = read(image, None, orientation="applied")
    np.testing.assert_array_equal(decode_image(turned.image, "a"), upright(image))


@pytest.mark.parametrize("options", [{}, {"orientation": "applied"}, {"orientation": "stored"}])
def test_a_mask_that_fits_neither_picture_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"mask m\.png is 5x4 pixels, its image"):
        read(photograph(6, WIDE), mask_of((4, 5)), **options)


@pytest.mark.parametrize("size", [(3, 4), (12, 18), (2, 3), (5, 8)])
def test_a_mask_of_another_size_is_scaled_to_the_nearest_pixel(size: tuple[int, int]) -> None:
    image, mask = photograph(1, WIDE), mask_of(size)
    with pytest.raises(InputError, match=r"9x6; both must have one size, or --resize-masks scales"):
        read(image, mask)
    result = read(image, mask, resize_masks=True)
    expected = Image.fromarray(mask).resize(WIDE[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(result.mask, np.array(expected))
    assert result.notes == ("the mask was scaled to the size of its image (nearest pixel)",)


@pytest.mark.parametrize("size", [WIDE[::-1], (6, 12), (6, 7), (18, 9)])
def test_a_mask_of_another_ratio_is_not_scaled(size: tuple[int, int]) -> None:
    for options in ({}, {"resize_masks": True}):
        with pytest.raises(InputError, match=r"its image 9x6; both must have one size$"):
            read(photograph(1, WIDE), mask_of(size), **options)


def test_a_small_mask_of_a_turned_picture_is_scaled_after_the_picture_is_turned() -> None:
    size = (120, 180)
    image, mask = photograph(6, size), mask_of((90, 60))
    with pytest.raises(InputError, match=r"only turned by it; give --orientation applied"):
        read(image, mask, resize_masks=True)
    result = read(image, mask, resize_masks=True, orientation="applied")
    np.testing.assert_array_equal(result.mask, mask.repeat(2, axis=0).repeat(2, axis=1))


def test_options_are_checked_and_recorded() -> None:
    assert ImageReader.of_options(("cat",), None, (), False).settings() == {}
    reader = ImageReader.of_options(("cat",), "applied", ("1=cat", "0=background"), True)
    assert reader.settings() == {
        "orientation": "applied",
        "mask_values": [["0", "background"], ["1", "cat"]],
        "resize_masks": True,
    }
    with pytest.raises(InputError, match="--orientation is 'up'; it must be stored or applied"):
        ImageReader.of_options(("cat",), "up", (), False)
