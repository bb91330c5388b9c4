"""Tests of reading images and masks from untrusted bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from wsss.platform.data.images import check_mask, decode_image, decode_mask, encode_png, voc_palette
from wsss.platform.errors import InputError
from wsss.platform.labels import VOID

Bytes = Callable[..., bytes]


def encoded(array: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **options)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header claims this size, with next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_is_read_as_rgb(make_picture: Bytes, form: str) -> None:
    image = decode_image(make_picture(form), "x")
    assert image.shape == (8, 12, 3)
    assert image.dtype == np.uint8


def test_a_grey_image_becomes_rgb() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert (decode_image(encoded(grey), "x") == grey[..., None]).all()


def test_exif_orientation_is_ignored() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(pixels, "JPEG", exif=exif), "x").shape == (4, 6, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_image_is_refused(make_picture: Bytes, form: str) -> None:
    data = make_picture(form, size=(64, 64))
    with pytest.raises(InputError, match=r"dog\.jpg is truncated"):
        decode_image(data[: len(data) // 2], "dog.jpg")


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(40)])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"dog\.jpg is not a readable JPEG or PNG"):
        decode_image(data, "dog.jpg")


def test_other_formats_are_refused(make_picture: Bytes) -> None:
    with pytest.raises(InputError, match=r"dog\.gif is not a readable"):
        decode_image(make_picture("GIF"), "dog.gif")


@pytest.mark.parametrize("side", [7_100, 12_000, 60_000])
def test_a_decompression_bomb_is_refused(side: int) -> None:
    """The sides exceed our cap, Pillow's warning and Pillow's error."""
    with pytest.raises(InputError, match=r"big\.png .*50000000"):
        decode_image(bomb(side, side), "big.png")
    with pytest.raises(InputError, match=r"big\.png .*50000000"):
        decode_mask(bomb(side, side), "big.png")


def test_an_image_of_sixteen_bits_is_read_by_its_upper_bytes() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    deep = encoded(grey.astype(np.uint16) * 256 + 255)
    assert (decode_image(deep, "deep.png") == grey[..., None]).all()


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_masks_survive_encoding(height: int, width: int, palette: bool, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    assert (decode_mask(encode_png(mask, palette), "x") == mask).all()


def test_a_mask_is_never_read_through_its_palette() -> None:
    image = Image.fromarray(np.full((3, 3), 7, np.uint8))
    image.putpalette([0, 0, 0] * 256)
    out = io.BytesIO()
    image.save(out, "PNG")
    assert (decode_mask(out.getvalue(), "x") == 7).all()


def test_an_rgb_mask_is_refused(make_picture: Bytes) -> None:
    with pytest.raises(InputError, match=r"mask m\.png has pixel mode RGB"):
        decode_mask(make_picture("PNG"), "m.png")


def test_a_grey_mask_of_one_bit_is_refused() -> None:
    """Pillow would stretch a 1-bit grey value 1 to 255."""
    with pytest.raises(InputError, match=r"mask m\.png has pixel mode 1 at 1 bits"):
        decode_mask(encoded(np.eye(4, dtype=bool)), "m.png")


def test_a_jpeg_mask_is_refused(make_picture: Bytes) -> None:
    with pytest.raises(InputError, match=r"m\.jpg is not a readable PNG"):
        decode_mask(make_picture("JPEG"), "m.jpg")


def test_a_mask_is_checked_for_values_and_size() -> None:
    mask = np.array([[0, 2], [255, 1]], np.uint8)
    assert check_mask(mask, (2, 2), 2, "m.png") is mask
    with pytest.raises(InputError, match=r"mask m\.png has the value 2; allowed are 0 to 1"):
        check_mask(mask, (2, 2), 1, "m.png")
    with pytest.raises(InputError, match=r"mask m\.png is 2x2 pixels, its image 3x2"):
        check_mask(mask, (2, 3), 2, "m.png")


def test_the_palette_is_that_of_voc() -> None:
    palette = np.array(voc_palette()).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert all(tuple(palette[k]) == v for k, v in known.items())
    assert tuple(palette[VOID]) == (224, 224, 192)
    assert len(np.unique(palette, axis=0)) == 256
