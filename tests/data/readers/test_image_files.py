"""Tests of the kinds of image files that people have, and of EXIF orientation."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from wsss.platform.data.images import decode_image
from wsss.platform.data.readers.image_files import read_image_file, turned_upright
from wsss.platform.data.readers.masks.samples import read_png
from wsss.platform.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PALETTE = Image.fromarray(PIXELS).quantize(16)
ORIENTATION = 0x0112


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, form, **options)
    return out.getvalue()


def with_orientation(value: int, form: str = "PNG", size: tuple[int, int] = (6, 9)) -> bytes:
    """Return an encoded picture of `size` (height, width) with an EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), dtype=np.uint8)
    return encoded(pixels, form, exif=exif)


def with_alpha(alpha: int) -> np.ndarray:
    return np.dstack([PIXELS, np.full(PIXELS.shape[:2], alpha, np.uint8)])


def sixteen_bit_rgb() -> bytes:
    """Return a PNG of 16 bits a channel, which Pillow cannot write: its upper bytes are PIXELS."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = PIXELS.shape
    wide = np.stack([PIXELS, np.full_like(PIXELS, 255)], axis=3).reshape(height, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in wide)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def grey_as_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


GREY = PIXELS[..., 0]
WITHOUT_NOTE = {
    "RGB": (encoded(PIXELS), PIXELS),
    "RGBA that is opaque": (encoded(with_alpha(255)), PIXELS),
    "grey": (encoded(GREY), grey_as_rgb(GREY)),
    "grey with opaque alpha": (encoded(Image.fromarray(GREY).convert("LA")), grey_as_rgb(GREY)),
    "palette": (encoded(PALETTE), np.array(PALETTE.convert("RGB"))),
    "1 bit": (encoded(GREY > 99), grey_as_rgb((GREY > 99) * np.uint8(255))),
}
TRANSPARENT = "transparent pixels were read with the colour that is stored for them"
SIXTEEN = "16 bits a channel were read as 8: each value was divided by 256"
WITH_NOTE = {
    "RGBA": (encoded(with_alpha(7)), PIXELS, TRANSPARENT),
    "palette with transparency": (
        encoded(PALETTE, transparency=int(np.array(PALETTE)[0, 0])),
        np.array(PALETTE.convert("RGB")),
        TRANSPARENT,
    ),
    "RGB with a transparent colour": (
        encoded(PIXELS, transparency=tuple(PIXELS[0, 0].tolist())),
        PIXELS,
        TRANSPARENT,
    ),
    "grey of 16 bits": (
        encoded(GREY.astype(np.uint16) * 256 + 255),
        grey_as_rgb(GREY),
        SIXTEEN,
    ),
    "RGB of 16 bits": (sixteen_bit_rgb(), PIXELS, SIXTEEN),
    "animated PNG": (
        encoded(PIXELS, save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
        PIXELS,
        "an animated PNG was read as its first picture",
    ),
}


@pytest.mark.parametrize("kind", WITHOUT_NOTE)
def test_a_common_image_is_read_without_a_note(kind: str) -> None:
    data, expected = WITHOUT_NOTE[kind]
    image = read_image_file(data, "a.png")
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.notes, image.orientation, image.data) == ((), 1, data)


@pytest.mark.parametrize("kind", WITH_NOTE)
def test_a_rare_image_is_read_with_a_note(kind: str) -> None:
    data, expected, note = WITH_NOTE[kind]
    image = read_image_file(data, "a.png")
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.notes == (note,)
    np.testing.assert_array_equal(decode_image(image.data, "a.png"), expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_of_each_kind_is_read(mode: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(PIXELS).convert(mode), "JPEG", **options)
    image = read_image_file(data, "a.jpg")
    with Image.open(io.BytesIO(data)) as expected:
        np.testing.assert_array_equal(image.pixels, np.array(expected.convert("RGB")))
    cmyk = ("CMYK was turned into RGB without a colour profile",)
    assert image.notes == (cmyk if mode == "CMYK" else ())


def test_the_first_picture_of_a_photograph_of_several_is_read() -> None:
    other = Image.fromarray(255 - PIXELS)
    data = encoded(PIXELS, "MPO", save_all=True, append_images=[other], quality=95)
    image = read_image_file(data, "a.jpg")
    assert image.notes == ("a JPEG of several pictures was read as its first picture",)
    expected = decode_image(encoded(PIXELS, "JPEG", quality=95), "a.jpg")
    np.testing.assert_array_equal(image.pixels, expected)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_picture_is_the_one_that_pillow_turns(value: int, form: str) -> None:
    data = with_orientation(value, form)
    image = read_image_file(data, "a.jpg")
    assert image.orientation == value
    turned = turned_upright(image)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.array(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(turned.pixels, expected)
    np.testing.assert_array_equal(decode_image(turned.data, "a"), expected)
    assert turned.size == image.turned_size == expected.shape[:2]
    assert read_image_file(turned.data, "a").orientation == 1


@pytest.mark.parametrize("value", [1, 0, 9, 255])
def test_an_upright_picture_keeps_its_bytes(value: int) -> None:
    image = read_image_file(with_orientation(value), "a.jpg")
    assert image.orientation == 1
    assert turned_upright(image).data == image.data


def test_an_orientation_in_xmp_counts() -> None:
    """Some editors write the orientation of a PNG there alone."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    assert read_image_file(encoded(PIXELS, pnginfo=info), "a.png").orientation == 6


def test_damaged_exif_data_are_noted() -> None:
    image = read_image_file(encoded(PIXELS, "JPEG", exif=b"Exif\0\0nonsense"), "a.jpg")
    assert image.orientation == 1
    assert image.notes == ("the EXIF data are damaged, so no orientation is known",)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is empty"),
        (encoded(PIXELS, "GIF"), "it is a GIF; convert it to PNG"),
        (encoded(PIXELS, "WEBP"), "it is a WebP image; convert it to PNG"),
        (encoded(PIXELS, "TIFF"), "it is a TIFF; convert it to PNG"),
        (encoded(PIXELS, "BMP"), "it is a BMP; convert it to PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(9), "it is a HEIC or AVIF image; convert it to PNG"),
        (b"<!DOCTYPE html>", "it is a page of HTML or XML, no image; replace"),
        (b"version https://git-lfs.github.com/spec/v1", "fetch the file with git lfs pull"),
    ],
)
def test_an_image_of_another_format_is_named(data: bytes, sentence: str) -> None:
    with pytest.raises(
        InputError, match=rf"a\.jpg is not a readable JPEG or PNG image.*{sentence}"
    ):
        read_image_file(data, "a.jpg")


def test_an_image_and_a_mask_without_their_palette_are_damaged() -> None:
    data = bytearray(WITHOUT_NOTE["palette"][0])
    start = data.index(b"PLTE") - 4
    del data[start : start + 12 + int.from_bytes(data[start : start + 4])]
    with pytest.raises(InputError, match=r"^a\.png is damaged: it has no palette; replace the fi"):
        read_image_file(bytes(data), "a.png")
    with pytest.raises(InputError, match=r"^mask m\.png is damaged: it has no palette"):
        read_png(bytes(data), "m.png")


def test_a_damaged_jpeg_is_not_called_a_jpeg(make_picture: Callable[..., bytes]) -> None:
    with pytest.raises(InputError, match=r"readable JPEG or PNG image; replace the file$"):
        read_image_file(make_picture("JPEG")[:9], "a.jpg")
